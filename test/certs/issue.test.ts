import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tls from 'node:tls';
import { promisify } from 'node:util';
import test from 'ava';
import {
  CLOCK_SKEW_MS,
  chooseTtlMs,
  issueServerCertificate,
  issueWorkloadCertificate,
  makeSigner,
} from '../../certs/issue.ts';
import { privateKeyPem, publicKeyDer } from '../../certs/keys.ts';
import { Oid } from '../../certs/oids.ts';
import { certificateIdentity, readCertificate } from '../../certs/x509.ts';
import { describeError } from '../../base/errors.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { makeKeys, makeTestCa, type TestCa } from '../support/test-ca.ts';

const WEB = 'spiffe://cluster.local/ns/shop/sa/web';
const CART = 'spiffe://cluster.local/ns/shop/sa/cart';
const run = promisify(execFile);

/** What `openssl verify -x509_strict` says of a chain under its roots, for one purpose. */
async function opensslVerify(
  certificate: WorkloadCertificate,
  purpose: 'sslserver' | 'sslclient',
): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'halo-verify-'));
  try {
    const [leaf = '', ...intermediates] = certificate.chainPem;
    writeFileSync(join(folder, 'leaf.pem'), leaf);
    writeFileSync(join(folder, 'between.pem'), intermediates.join('') || leaf);
    writeFileSync(join(folder, 'roots.pem'), certificate.rootsPem.join(''));
    const files = ['-CAfile', 'roots.pem', '-untrusted', 'between.pem', 'leaf.pem'];
    const { stdout } = await run('openssl', ['verify', '-purpose', purpose, ...files], {
      cwd: folder,
    });
    return stdout.trim();
  } catch (error) {
    return describeError(error);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Names who refused a mutual TLS 1.3 handshake and why; `undefined`: both ends accepted. */
async function handshake(
  server: WorkloadCertificate,
  client: WorkloadCertificate,
): Promise<string | undefined> {
  const options = (own: WorkloadCertificate): tls.SecureContextOptions => ({
    cert: own.chainPem.join(''),
    key: own.privateKeyPem,
    ca: [...own.rootsPem],
    minVersion: 'TLSv1.3',
  });
  const listener = tls.createServer({
    ...options(server),
    requestCert: true,
    rejectUnauthorized: false, // so that it stays to say why
  });
  const judged = new Promise<string | undefined>((resolve) => {
    listener.on('secureConnection', (socket) => {
      socket.on('error', () => undefined);
      resolve(socket.authorized ? undefined : `server: ${String(socket.authorizationError)}`);
    });
    listener.on('tlsClientError', (error) => {
      resolve(`server: ${describeError(error)}`);
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  const socket = tls.connect({
    port,
    host: '127.0.0.1',
    ...options(client),
    checkServerIdentity: () => undefined,
  });
  const refused = new Promise<string>((resolve) => {
    socket.on('error', (error) => {
      resolve(`client: ${describeError(error)}`);
    });
  });
  const connected = once(socket, 'secureConnect').then(async () => judged);
  connected.catch(() => undefined);
  try {
    return await Promise.race([connected, refused]);
  } finally {
    socket.destroy();
    listener.close();
    await once(listener, 'close');
  }
}

/** As the CA makes it, not as the test CA may bend it. */
function issueReal(ca: TestCa, identity: string, key: 'ec' | 'rsa'): WorkloadCertificate {
  const keys = makeKeys(key);
  const issued = issueWorkloadCertificate(ca.signer, {
    identity: parseSpiffeId(identity),
    publicKey: publicKeyDer(keys.publicKey),
    ttlMs: 3_600_000,
    nowMs: Date.now(),
  });
  return {
    ...ca.issue(identity),
    privateKeyPem: privateKeyPem(keys.privateKey),
    chainPem: [issued.pem, ...ca.intermediatesPem],
    serialNumber: issued.serialNumber,
  };
}

for (const key of ['ec', 'rsa'] as const) {
  for (const intermediates of [0, 2]) {
    test(`openssl verify and Node's TLS accept ${key} certificates with ${intermediates} intermediates`, async (t) => {
      const ca = makeTestCa({ key, intermediates });
      const [web, cart] = [issueReal(ca, WEB, key), issueReal(ca, CART, key)];
      for (const purpose of ['sslserver', 'sslclient'] as const)
        t.is(await opensslVerify(web, purpose), 'leaf.pem: OK');
      t.is(await handshake(web, cart), undefined);
    });
  }
}

test("openssl's strict profile has nothing to say against what we issue", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'halo-strict-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true });
  });
  const ca = makeTestCa({ intermediates: 1 });
  const web = issueReal(ca, WEB, 'ec');
  writeFileSync(join(folder, 'root.pem'), ca.rootPem);
  writeFileSync(join(folder, 'between.pem'), ca.intermediatesPem.join(''));
  writeFileSync(join(folder, 'leaf.pem'), web.chainPem[0] ?? '');
  const files = ['-CAfile', 'root.pem', '-untrusted', 'between.pem', 'leaf.pem'];
  const { stdout } = await run('openssl', ['verify', '-x509_strict', ...files], { cwd: folder });
  t.is(stdout.trim(), 'leaf.pem: OK');
});

test('a workload certificate has the profile of the mesh and nothing of the request but its key', async (t) => {
  const ca = makeTestCa();
  const keys = makeKeys();
  const nowMs = Date.parse('2026-03-04T05:06:07.890Z');
  const identity = parseSpiffeId(WEB);
  const issued = issueWorkloadCertificate(ca.signer, {
    identity,
    publicKey: publicKeyDer(keys.publicKey),
    ttlMs: 86_400_000,
    nowMs,
  });
  const read = readCertificate(issued.pem);
  t.is(certificateIdentity(read), identity);
  t.is(read.notBeforeMs, Date.parse('2026-03-04T05:04:07Z'));
  t.is(read.notAfterMs, Date.parse('2026-03-05T05:06:07Z'));
  t.is(issued.notAfterMs, read.notAfterMs);
  t.is(issued.serialNumber, read.serialNumber);
  t.is(read.serialNumber.length, 32);
  t.deepEqual([...(read.keyUsage ?? [])], [0, 2]);
  t.deepEqual([...(read.extKeyUsage ?? [])], [Oid.serverAuth, Oid.clientAuth]);
  t.false(read.isCa);
  t.deepEqual(read.publicKey, publicKeyDer(keys.publicKey));

  const file = join(mkdtempSync(join(tmpdir(), 'halo-text-')), 'leaf.pem');
  t.teardown(() => {
    rmSync(join(file, '..'), { recursive: true });
  });
  writeFileSync(file, issued.pem);
  const { stdout } = await run('openssl', ['x509', '-in', file, '-noout', '-text']);
  t.regex(stdout, /Subject: *\n/);
  t.regex(stdout, /Subject Alternative Name: critical\s+URI:spiffe:\/\/cluster\.local\/ns\/shop/);
  t.regex(stdout, /Basic Constraints: critical\s+CA:FALSE/);
  t.regex(stdout, /Key Usage: critical\s+Digital Signature, Key Encipherment/);
});

test('a certificate does not outlive the one that signs it', (t) => {
  const ca = makeTestCa();
  const issued = issueWorkloadCertificate(ca.signer, {
    identity: parseSpiffeId(WEB),
    publicKey: publicKeyDer(makeKeys().publicKey),
    ttlMs: 3_600_000,
    nowMs: ca.signer.notAfterMs - 60_000,
  });
  t.is(issued.notAfterMs, ca.signer.notAfterMs);
});

test('a server certificate is accepted by its host name and its address', async (t) => {
  const ca = makeTestCa();
  const keys = makeKeys();
  const { pem } = issueServerCertificate(ca.signer, {
    dnsNames: ['istiod.istio-system.svc', 'localhost'],
    ips: [Uint8Array.of(127, 0, 0, 1)],
    publicKey: publicKeyDer(keys.publicKey),
    ttlMs: 86_400_000,
    nowMs: Date.now(),
  });
  const listener = tls.createServer({ cert: pem, key: privateKeyPem(keys.privateKey) });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  const connect = async (servername?: string): Promise<void> => {
    const name = servername === undefined ? {} : { servername };
    const socket = tls.connect({ port, host: '127.0.0.1', ca: ca.rootPem, ...name });
    try {
      await once(socket, 'secureConnect');
    } finally {
      socket.destroy();
    }
  };
  await connect('istiod.istio-system.svc');
  await connect('localhost');
  await connect();
  await t.throwsAsync(connect('istiod.other.svc'), { code: 'ERR_TLS_CERT_ALTNAME_INVALID' });
  listener.close();
});

test('makeSigner() refuses a certificate that is not one of a CA', (t) => {
  const ca = makeTestCa();
  const [leaf = ''] = ca.issue(WEB).chainPem;
  t.throws(() => makeSigner(leaf, ca.keys.privateKey), { code: 'ERR_CA' });
});

const LIMITS = { defaultTtlMs: 86_400_000, maxTtlMs: 90 * 86_400_000 };
const ttl = test.macro({
  exec(t, seconds: bigint, expected: number | undefined) {
    if (expected !== undefined) t.is(chooseTtlMs(seconds, LIMITS), expected);
    else t.throws(() => chooseTtlMs(seconds, LIMITS), { code: 'ERR_CERTIFICATE_TTL' });
  },
  title: (_given, seconds, expected) =>
    `chooseTtlMs() ${expected === undefined ? 'refuses' : 'answers'} ${String(seconds)} s`,
});
test(ttl, 0n, 86_400_000);
test(ttl, -1n, 86_400_000);
test(ttl, -(2n ** 63n), 86_400_000);
test(ttl, 60n, 60_000);
test(ttl, 7_776_000n, 7_776_000_000);
test(ttl, 7_776_001n, undefined);
test(ttl, 2n ** 63n - 1n, undefined);

const refused = test.macro({
  async exec(t, client: (ca: TestCa) => WorkloadCertificate, reason: RegExp) {
    const ca = makeTestCa();
    t.regex((await handshake(ca.issue(WEB), client(ca))) ?? 'accepted', reason);
  },
  title: (given = '') => `Node's TLS refuses a test certificate that is ${given}`,
});
test('expired', refused, (ca) => ca.issue(CART, { ttlMs: -1000 }), /CERT_HAS_EXPIRED/);
test(
  'not yet valid',
  refused,
  (ca) => ca.issue(CART, { notBeforeInMs: 60_000 }),
  /CERT_NOT_YET_VALID/,
);
test(
  'from another root',
  refused,
  (ca) => ({ ...makeTestCa().issue(CART), rootsPem: [ca.rootPem] }),
  /UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER/,
);
test(
  'for a server alone',
  refused,
  (ca) => ca.issue(CART, { purposes: [Oid.serverAuth] }),
  /INVALID_PURPOSE/,
);

test('a chain of several intermediates below a path length of 0 is refused', async (t) => {
  const ca = makeTestCa({ intermediates: 2, pathLength: 0 });
  t.regex((await handshake(ca.issue(WEB), ca.issue(CART))) ?? 'accepted', /path.length/i);
});

test('a chain through an intermediate that is no CA is refused', async (t) => {
  const ca = makeTestCa({ intermediates: 1, plainIntermediates: true });
  t.regex(
    (await handshake(ca.issue(WEB), ca.issue(CART))) ?? 'accepted',
    /purpose|invalid CA|INVALID/,
  );
});

test('the beginning leaves room for a slow clock', (t) => {
  const { notBeforeMs } = makeTestCa().issue(WEB);
  t.true(Date.now() - notBeforeMs >= CLOCK_SKEW_MS);
});
