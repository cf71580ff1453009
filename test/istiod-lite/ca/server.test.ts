import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream';
import test, { type ExecutionContext } from 'ava';
import { MeshError } from '../../../base/errors.ts';
import { CaClient } from '../../../certs/ca-client.ts';
import { makeCsr } from '../../../certs/csr.ts';
import { readCertificate } from '../../../certs/x509.ts';
import { parseSpiffeId } from '../../../mesh/model/identity.ts';
import type { IstioCertificateRequest } from '../../../mesh/proto/gen/ca.ts';
import { ControlPlane, createCertificate } from '../../../mesh/proto/grpc.ts';
import { ZTUNNEL, startCaServer, type CaServer } from '../../support/ca-server.ts';
import { makeKeys, makeTestCa } from '../../support/test-ca.ts';
import { makeTokenIssuer, type TestAccount } from '../../support/tokens.ts';

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');
const CART = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/cart');
const OWN = parseSpiffeId('spiffe://cluster.local/ns/istio-system/sa/ztunnel');
/** What no pod of Kubernetes has, such as a program on a machine of its own. */
const WORKLOAD: TestAccount = {
  ...{ namespace: 'shop', serviceAccount: 'web', podName: '', podUid: '', node: '' },
};
const DAY = 86_400_000;
const issuer = makeTokenIssuer();
const start = (t: ExecutionContext): Promise<CaServer> => startCaServer(t, issuer);

test('a node proxy gets the certificate of an account with a pod on its node', async (t) => {
  const { clientOptions, rootsPem, outcomes, counters } = await start(t);
  using client = new CaClient(clientOptions);
  const certificate = await client.fetch(WEB);
  t.is(certificate.identity, WEB);
  t.is(certificate.chainPem.length, 2);
  t.deepEqual(certificate.rootsPem, [rootsPem]);
  t.is(readCertificate(certificate.chainPem[0] ?? '').serialNumber, certificate.serialNumber);
  t.is(certificate.notAfterMs - certificate.notBeforeMs, 3_600_000 + 120_000);
  t.like(outcomes, [{ kind: 'issued', identity: WEB, caller: ZTUNNEL }]);
  t.deepEqual(counters, ['citadel_server_csr_count', 'citadel_server_success_cert_issuance_count']);
});

test('RSA keys are accepted, and a caller gets its own identity without asking for another', async (t) => {
  const { clientOptions } = await start(t);
  using client = new CaClient({ ...clientOptions, keyKind: 'rsa-2048', impersonate: false });
  t.is((await client.fetch(OWN)).identity, OWN);
});

test("a workload gets its own identity by its own account's token, and no other in any way", async (t) => {
  const { clientOptions, outcomes } = await startCaServer(t, issuer, ['shop/web', 'shop/cart']);
  const token = await issuer.token(WORKLOAD);
  using own = new CaClient({ ...clientOptions, token, impersonate: false });
  t.is((await own.fetch(WEB)).identity, WEB);
  await t.throwsAsync(own.fetch(CART), { code: 'ERR_CA_REFUSED', message: /request failure/ });
  using impersonating = new CaClient({ ...clientOptions, token, impersonate: true });
  for (const identity of [CART, WEB])
    await t.throwsAsync(impersonating.fetch(identity), {
      ...{ code: 'ERR_CA_REFUSED', message: /impersonation/ },
    });
  t.deepEqual(
    outcomes.map((outcome) => (outcome.kind === 'issued' ? outcome.identity : outcome.kind)),
    [WEB, 'refused', 'refused', 'refused'],
  );
});

test('the token is read from its file for each request', async (t) => {
  const { clientOptions, token } = await start(t);
  const folder = mkdtempSync(join(tmpdir(), 'halo-token-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, 'token');
  using client = new CaClient({ ...clientOptions, token: path });
  await t.throwsAsync(client.fetch(WEB), { code: 'ERR_CA_UNAVAILABLE', message: /token from/ });
  writeFileSync(path, 'a.b.c');
  await t.throwsAsync(client.fetch(WEB), {
    code: 'ERR_CA_REFUSED',
    message: /authenticate failure/,
  });
  writeFileSync(path, `${token}\n`);
  t.is((await client.fetch(WEB)).identity, WEB);
});

test('new roots of the CA are read from their file for each request', async (t) => {
  const { clientOptions, rootsPem } = await start(t);
  const folder = mkdtempSync(join(tmpdir(), 'halo-roots-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  const path = join(folder, 'root-cert.pem');
  using client = new CaClient({ ...clientOptions, roots: path });
  await t.throwsAsync(client.fetch(WEB), { code: 'ERR_CONTROL_PLANE_ROOTS' });
  writeFileSync(path, makeTestCa().rootPem);
  await t.throwsAsync(client.fetch(WEB), { code: 'ERR_CA_UNAVAILABLE', message: /certificate/ });
  writeFileSync(path, rootsPem);
  t.is((await client.fetch(WEB)).identity, WEB);
});

test('a server that proves another name than is expected is not asked', async (t) => {
  const { clientOptions, counters } = await start(t);
  using client = new CaClient({ ...clientOptions, serverName: 'istiod.elsewhere.svc' });
  await t.throwsAsync(client.fetch(WEB), { code: 'ERR_CA_UNAVAILABLE', message: /altnames/ });
  t.deepEqual(counters, []);
});

test('a connection made ahead is the one that the first request uses, also when it was young', async (t) => {
  const { clientOptions } = await start(t);
  const { port } = new URL(clientOptions.address);
  let connections = 0;
  const relay = createServer((from) => {
    connections++;
    pipeline(from, connect(Number(port), '127.0.0.1'), from, () => undefined);
  }).listen(0, '127.0.0.1');
  t.teardown(() => relay.close());
  await once(relay, 'listening');
  const behind = `https://127.0.0.1:${(relay.address() as AddressInfo).port}`;
  const options = { ...clientOptions, address: behind };
  using client = new CaClient(options);
  await client.connect();
  t.is(connections, 1);
  client.reconnect(); // it stands
  t.is((await client.fetch(WEB)).identity, WEB);
  t.is(connections, 1);
  using young = new CaClient(options);
  const connecting = young.connect();
  await new Promise(setImmediate);
  young.reconnect(); // the stream of configuration is there sooner
  await connecting;
  t.is((await young.fetch(WEB)).identity, WEB);
  t.is(connections, 2);
  using away = new CaClient({ ...clientOptions, roots: '/nowhere/root.pem' });
  await t.notThrowsAsync(away.connect());
});

test('a CA that is away is told apart from one that refuses', async (t) => {
  const { clientOptions } = await start(t);
  using client = new CaClient({ ...clientOptions, address: 'https://127.0.0.1:1' });
  await t.throwsAsync(client.fetch(WEB), { code: 'ERR_CA_UNAVAILABLE', message: /ECONNREFUSED/ });
});

test('a fetch ends when its signal says so', async (t) => {
  const { clientOptions } = await start(t);
  using client = new CaClient({ ...clientOptions, address: 'https://127.0.0.1:1' });
  const signal = AbortSignal.abort();
  await t.throwsAsync(client.fetch(WEB, { signal }), { name: 'AbortError' });
});

const keys = makeKeys();
const good: IstioCertificateRequest = {
  csr: makeCsr(WEB, keys),
  validityDuration: 3600n,
  metadata: { ImpersonatedIdentity: WEB },
};

/** What a refused caller hears, and what the log says instead. */
const refused = test.macro({
  async exec(
    t,
    request: Partial<IstioCertificateRequest>,
    heard: string,
    logged: RegExp,
    account?: TestAccount,
  ) {
    const running = await start(t);
    const { address, rootsPem } = running;
    const token = account === undefined ? running.token : await issuer.token(account);
    using controlPlane = new ControlPlane({ address, rootsPem, token, clusterId: 'Kubernetes' });
    const error = await t.throwsAsync(
      createCertificate(controlPlane, { ...good, ...request }, { timeoutMs: 5000 }),
      { instanceOf: MeshError },
    );
    t.is(error.message, `Cannot get certificate from the CA: found ${heard}`);
    const [outcome] = running.outcomes;
    t.is(outcome?.kind, 'refused');
    t.regex(outcome?.kind === 'refused' ? outcome.reason : '', logged);
    t.is(running.counters.length > 1, !heard.includes('impersonation'));
  },
  title: (given = '') => `the CA refuses ${given} (T9, T10)`,
});

const NOT_YOU = 'UNAUTHENTICATED: request authenticate failure';
const NOT_THEM = 'UNAUTHENTICATED: request impersonation authentication failure';
const BAD = 'INVALID_ARGUMENT: certificate request failure';
const as = (identity: unknown): Partial<IstioCertificateRequest> => ({
  metadata: { ImpersonatedIdentity: identity },
});
test(
  'an account with no pod on the node',
  refused,
  as('spiffe://cluster.local/ns/shop/sa/cart'),
  NOT_THEM,
  /no pod of shop\/cart is on node node-a/,
);
test(
  'another trust domain',
  refused,
  as('spiffe://elsewhere.test/ns/shop/sa/web'),
  NOT_THEM,
  /another trust domain/,
);
test('an identity that is no text', refused, as({ a: 1 }), NOT_YOU, /no text/);
test('an identity of null', refused, as(null), NOT_YOU, /no text/);
test(
  'an external signer',
  refused,
  { metadata: { ImpersonatedIdentity: WEB, CertSigner: 'x' } },
  NOT_YOU,
  /CertSigner/,
);
test('a pod of an earlier life', refused, {}, NOT_THEM, /UID uid-1, not uid-0/, {
  ...ZTUNNEL,
  podUid: 'uid-0',
});
test(
  'a request that names another than it may have',
  refused,
  { csr: makeCsr(OWN, keys) },
  BAD,
  /ztunnel" where the caller may have .*web/,
);
test('what is no request', refused, { csr: 'AAAA' }, BAD, /PEM/);
test(
  'a lifetime that is too long',
  refused,
  { validityDuration: 7_776_001n },
  BAD,
  /7776001 s, at most 7776000 s/,
);

test('the lifetime is the default when none is asked for, also with a negative one (T9)', async (t) => {
  const { address, rootsPem, token } = await start(t);
  using controlPlane = new ControlPlane({ address, rootsPem, token, clusterId: 'Kubernetes' });
  for (const validityDuration of [0n, -1n]) {
    const { certChain } = await createCertificate(
      controlPlane,
      { ...good, validityDuration },
      { timeoutMs: 5000 },
    );
    const leaf = readCertificate(certChain[0] ?? '');
    t.is(leaf.notAfterMs - leaf.notBeforeMs, DAY + 120_000);
  }
});

test('the answer is leaf, intermediate, all roots, as Istio has it', async (t) => {
  const { address, rootsPem, token, authority } = await start(t);
  using controlPlane = new ControlPlane({ address, rootsPem, token, clusterId: 'Kubernetes' });
  const { certChain } = await createCertificate(controlPlane, good, { timeoutMs: 5000 });
  t.is(certChain.length, 3);
  t.is(certChain[2], authority.rootsPem);
  for (const element of certChain) t.true(element.endsWith('-----END CERTIFICATE-----\n'));
});

test('a connection without an answer is given up after its time, or when its signal says so', async (t) => {
  const accepted: Socket[] = [];
  const silent = createServer((socket) => {
    socket.on('error', () => undefined);
    accepted.push(socket);
  });
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const { port } = silent.address() as AddressInfo;
  const options = { rootsPem: makeTestCa().rootPem, clusterId: 'Kubernetes' };
  using controlPlane = new ControlPlane({ ...options, address: `https://127.0.0.1:${port}` });
  const aborter = new AbortController();
  const aborted = t.throwsAsync(controlPlane.connect({ signal: aborter.signal }), {
    name: 'AbortError',
  });
  const late = t.throwsAsync(controlPlane.connect(), { code: 'ERR_CONTROL_PLANE_CONNECT' });
  await once(silent, 'connection');
  aborter.abort();
  await aborted;
  await late;
  silent.close();
  for (const socket of accepted) socket.destroy();
});

test('an address that is no https URL is refused', (t) => {
  for (const address of ['', 'istiod:15012', 'http://istiod:15010', 'https://', 'https://a/b'])
    t.throws(() => new ControlPlane({ address, rootsPem: '', clusterId: '' }), {
      code: 'ERR_CONTROL_PLANE_ADDRESS',
    });
});
