import { sign, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { derBitString, derOid, derSequence, derTime, derUnsigned } from '../../base/der-write.ts';
import { makeName } from '../../certs/issue.ts';
import { publicKeyDer } from '../../certs/keys.ts';
import { Oid } from '../../certs/oids.ts';
import { DEFAULT_TRUST_DOMAIN } from '../../mesh/model/identity.ts';
import { Metrics } from '../../mesh/runtime/metrics.ts';
import { formatMetrics } from '../../mesh/runtime/metrics-text.ts';
import { readRevocations } from '../../mesh/proxy/follow-revocations.ts';
import { cutRevoked, RevocationCheck } from '../../mesh/proxy/revocation.ts';
import { watchFile } from '../../mesh/proxy/watch-file.ts';
import { makeCrl } from '../support/crl.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';
import { issueBy, makeKeys, makeTestCa, type TestCa } from '../support/test-ca.ts';
import { TestNode } from '../support/ztunnel-pods.ts';

test.serial('a revoked peer is cut off and not let in again, in and out (T17)', async (t) => {
  const ca = makeTestCa();
  const metrics = new Metrics();
  const revocation = new RevocationCheck(metrics, makeCrl(ca, []));
  const node = await TestNode.open(t, { revocation });
  const serials = new Map<string, string>();
  node.issue = (identity) => {
    const certificate = ca.issue(identity);
    serials.set(identity.slice(identity.lastIndexOf('/') + 1), certificate.serialNumber);
    return certificate;
  };
  const client = node.addPod({ name: 'client' });
  const good = node.addPod({ name: 'good' });
  const bad = node.addPod({ name: 'bad' });
  const badClient = node.addPod({ name: 'badclient' });
  for (const pod of [good, bad])
    pod.listen(8080, (app) => {
      void app.until((c) => c.received > 0).then(() => app.write('hello'));
    });
  const toGood = await client.connect(good.ip, 8080);
  const toBad = await client.connect(bad.ip, 8080);
  const fromBad = await badClient.connect(good.ip, 8080);
  for (const app of [toGood, toBad, fromBad]) {
    await app.write('x');
    await app.until((c) => c.received === 5);
  }

  revocation.load(makeCrl(ca, [serials.get('bad') ?? '', serials.get('badclient') ?? '']));
  cutRevoked(revocation, node.parts, node.pods);
  await Promise.all([toBad, fromBad].map((app) => app.until(({ error }) => error !== undefined)));
  t.is(toGood.error, undefined);
  const revoked = await node.records((r) => /is revoked/.test(String(r['error'])), 2);
  t.deepEqual(revoked.map((r) => r['direction']).sort(), ['inbound', 'outbound']);
  t.is(node.metric('istio_tcp_connections_failed_total', 'response_flags="CERT_REVOKED"'), 2);

  for (const [from, to] of [
    [client, bad],
    [badClient, good],
  ] as const) {
    const app = await from.connect(to.ip, 8080);
    await app.until(({ error }) => error !== undefined);
  }
  await node.records((r) => /is revoked/.test(String(r['error'])), 4);
  t.regex(formatMetrics(metrics.snapshot(), 'prometheus'), /istio_crl_policy_rejections_total \d/);
  const again = await client.connect(good.ip, 8080);
  await again.write('x');
  await again.until((c) => c.received === 5);
  t.is(toGood.error, undefined);
});

test.serial(
  'a peer whose chain cannot be looked for in a list is refused and counted, in and out',
  async (t) => {
    // OpenSSL trusts a root of version 1; our own reader of certificates does not know what to make of one.
    const ca = makeOldCa();
    const metrics = new Metrics();
    const revocation = new RevocationCheck(metrics, makeCrl(makeTestCa(), []));
    const untracked = (): string[] =>
      formatMetrics(metrics.snapshot(), 'prometheus').match(/^istio_crl_untracked\S* \d+$/gm) ?? [];
    const name = 'istio_crl_untracked_connections_total';
    t.deepEqual(untracked(), [`${name}{reporter="destination"} 0`, `${name}{reporter="source"} 0`]);
    const node = await TestNode.open(t, { revocation });
    node.issue = (identity) => ca.issue(identity);
    const client = node.addPod({ name: 'client' });
    const server = node.addPod({ name: 'server' });
    server.listen(8080, () => {
      t.fail('served');
    });
    const app = await client.connect(server.ip, 8080);
    await app.until(({ error }) => error !== undefined);
    const outbound = await node.ended('outbound');
    t.regex(String(outbound['error']), /cannot be checked for revocation: Cannot read certificate/);
    t.is(node.metric('istio_tcp_connections_failed_total', 'response_flags="IDENTITY_ERROR"'), 1);
    const inbound = await node.ended('inbound');
    t.is(inbound['message'], 'connection failed');
    t.deepEqual(untracked(), [`${name}{reporter="destination"} 1`, `${name}{reporter="source"} 1`]);
    t.is(node.pool.size, 0);
  },
);

test('no chain at all is no chain that may pass', (t) => {
  const revocation = new RevocationCheck(new Metrics(), makeCrl(makeTestCa(), []));
  t.like(revocation.check([], 'upstream'), { code: 'ERR_PEER_IDENTITY', side: 'upstream' });
});

/** A CA whose root is of version 1, as before extensions existed. */
function makeOldCa(): Pick<TestCa, 'issue'> {
  const keys = makeKeys();
  const nowMs = Date.now();
  const name = makeName(DEFAULT_TRUST_DOMAIN, 'old root');
  const algorithm = derSequence(derOid(Oid.ecdsaWithSha256));
  const notAfterMs = nowMs + 86_400_000;
  const body = derSequence(
    ...[derUnsigned(Buffer.from([1])), algorithm, name],
    ...[derSequence(derTime(nowMs - 60_000), derTime(notAfterMs)), name],
    publicKeyDer(keys.publicKey),
  );
  const signature = derBitString(sign('sha256', body, keys.privateKey));
  const rootPem = new X509Certificate(derSequence(body, algorithm, signature)).toString();
  const signer = { privateKey: keys.privateKey, name, notAfterMs };
  return issueBy({ rootPem, intermediatesPem: [], signer });
}

test.serial(
  'a change of the file is told once it has settled; a file that is no list is refused (T17)',
  async (t) => {
    using temporary = new TemporaryFolder();
    const folder = temporary.path;
    const path = join(folder, 'crl');
    writeFileSync(path, makeCrl(makeTestCa(), ['01']));
    t.true(readRevocations(path).length > 0);
    const { promise, resolve } = Promise.withResolvers<undefined>();
    let told = 0;
    using _watch = watchFile(
      path,
      () => {
        told++;
        resolve(undefined);
      },
      50,
    );
    writeFileSync(path, 'not a list');
    writeFileSync(path, 'still none');
    await promise;
    t.is(told, 1);
    t.throws(() => readRevocations(path), { code: 'ERR_CRL', message: /Cannot use CRL_PATH/ });
    t.throws(() => readRevocations(join(folder, 'missing')), { code: 'ERR_CRL' });
  },
);
