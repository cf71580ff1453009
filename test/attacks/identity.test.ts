import { createPrivateKey } from 'node:crypto';
import test, { type ExecutionContext } from 'ava';
import { der, derSequence } from '../../base/der-write.ts';
import { parseIpAddress, socketAddress } from '../../base/address.ts';
import { KeyUsage, makeExtension, makeSubjectAltName } from '../../certs/extensions.ts';
import { CLOCK_SKEW_MS, makeBasicConstraints, makeKeyUsage } from '../../certs/issue.ts';
import type { KeyPair } from '../../certs/keys.ts';
import { Oid } from '../../certs/oids.ts';
import { openTunnel } from '../../mesh/hbone/client.ts';
import { HboneSession } from '../../mesh/hbone/session.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { bindListener } from '../../net/tcp.ts';
import { TcpListener } from '../../net/tcp-listener.ts';
import { TlsContext } from '../../net/tls-context.ts';
import { acceptTls } from '../../net/tls.ts';
import { Collector } from '../support/collect.ts';
import { forge, forgeIntermediate, type Forgery } from '../support/forged.ts';
import { giantRsaKeys, rsaKeysWithExponent } from '../support/odd-keys.ts';
import { type AccessRecord, TestNode, type TestPod } from '../support/ztunnel-pods.ts';

const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';
const SERVER = 'spiffe://cluster.local/ns/shop/sa/server';
const HBONE = 15008;
const DAY_MS = 86_400_000;
/** Its bytes in UTF-8, one letter each. */
const CYRILLIC_E = Buffer.from('\u0435').toString('latin1');
const CODE_SIGNING = '1.3.6.1.5.5.7.3.3';

type Make = (node: TestNode, identity: string) => WorkloadCertificate;
const forged =
  (odd: (identity: string) => Forgery): Make =>
  (node, identity) =>
    forge(node.ca, identity, odd(identity));
const uris = (list: (identity: string) => readonly string[]): Make =>
  forged((identity) => ({ names: makeSubjectAltName({ uris: list(identity) }, true) }));
const rawName = (tag: number, content: Buffer): Make =>
  forged((identity) => ({
    names: makeExtension(
      Oid.subjectAltName,
      true,
      derSequence(der(0x86, Buffer.from(identity)), der(tag, content)),
    ),
  }));

/** By a CA whose clock differs from ours by so much. */
const issuedAt =
  (clockMs: number, ttlMs: number): Make =>
  (node, identity) =>
    node.ca.issue(identity, {
      ...{ notBeforeInMs: clockMs - CLOCK_SKEW_MS, ttlMs: clockMs + ttlMs },
    });

const withKeys = (keys: () => KeyPair): Make => forged(() => ({ keys: keys() }));

/** What it is, how it is made, and what the log must say of it. The CA that signed is the right one in all of them. */
type Case = readonly [what: string, make: Make, reason: RegExp];

/** Through an intermediate with these extensions, signed by the right CA. */
const below =
  (...extensions: readonly Buffer[]): Make =>
  (node, identity) => {
    const { pem, signer } = forgeIntermediate(node.ca.signer, extensions);
    return forge(node.ca, identity, { signer, intermediatesPem: [pem] });
  };

const rows: Readonly<Record<string, readonly Case[]>> = {
  'T1: a NUL in a name': [
    ['behind the identity', uris((id) => [`${id}\0.example`]), /URI/],
    ['inside the identity', uris((id) => [id.replace('/ns/', '/ns\0/')]), /URI/],
    [
      'in an otherName beside it',
      rawName(0xa0, Buffer.from('06032a0304a0040c026100', 'hex')),
      /other names/,
    ],
  ],
  'T2: a name that writes another': [
    ['a second URI in the first', uris((id) => [`${id}, URI:${SERVER}`]), /URI/],
    ['a URI in quotes', uris((id) => [`"${id}"`]), /URI/],
    ['a line of its own', uris((id) => [`${id}\nURI:${SERVER}`]), /URI/],
    [
      'an e-mail address that looks like one',
      rawName(0x81, Buffer.from(`a@b, URI:${SERVER}`)),
      /other names/,
    ],
  ],
  'T3: a name that is not one SPIFFE id of the mesh': [
    ['no name', forged(() => ({ names: 'none' })), /no URI/],
    ['two URIs', uris((id) => [id, `${id}2`]), /2 URI/],
    ['the same URI twice', uris((id) => [id, id]), /2 URI/],
    [
      'a host name beside the URI',
      forged((id) => ({
        names: makeSubjectAltName({ uris: [id], dnsNames: ['a.example'] }, true),
      })),
      /other names/,
    ],
    [
      'the extension twice',
      forged(() => ({ extensions: [makeSubjectAltName({ uris: [SERVER] }, true)] })),
      /refused|cannot be read|invalid certificate/, // before it is read, no verifier takes it
    ],
    ['SPIFFE in capitals', uris((id) => [id.replace('spiffe', 'SPIFFE')]), /URI/],
    ['a query', uris((id) => [`${id}?x`]), /URI/],
    ['a fragment', uris((id) => [`${id}#x`]), /URI/],
    ['user information', uris((id) => [id.replace('//', '//root@')]), /URI/],
    ['a port', uris((id) => [id.replace('local/', 'local:443/')]), /URI/],
    ['dot segments', uris((id) => [id.replace('/ns/', '/ns/../ns/')]), /URI/],
    ['an encoded slash', uris((id) => [id.replace('/sa/', '%2fsa/')]), /URI/],
    ['2,049 bytes', uris((id) => [id.padEnd(2049, 'a')]), /URI/],
    ['a look-alike letter', uris((id) => [id.replace('cluster', `clust${CYRILLIC_E}r`)]), /URI/],
    ['a trust domain in capitals', uris((id) => [id.replace('cluster', 'Cluster')]), /URI/],
    [
      'another trust domain',
      uris((id) => [id.replace('cluster.local', 'cluster.example')]),
      /trust domain|expected/,
    ],
  ],
  'T4: a certificate out of its time or its purpose': [
    ['expired', (node, id) => node.ca.issue(id, { ttlMs: -60_000 }), /expired/],
    [
      'of tomorrow',
      (node, id) => node.ca.issue(id, { notBeforeInMs: DAY_MS, ttlMs: 2 * DAY_MS }),
      /not yet valid/,
    ],
    [
      'of tomorrow by a clock that is ten minutes ahead',
      issuedAt(CLOCK_SKEW_MS + 10 * 60_000, DAY_MS),
      /not yet valid/,
    ],
    ['that a clock ten minutes behind held for valid', issuedAt(-DAY_MS, DAY_MS - 1), /expired/],
    [
      'for 100 years',
      (node, id) => node.ca.issue(id, { ttlMs: 36_525 * DAY_MS }),
      /for 36526 days/,
    ],
    ['for 399 days', (node, id) => node.ca.issue(id, { ttlMs: 399 * DAY_MS }), /for 400 days/],
    [
      'a CA',
      forged(() => ({ isCa: true, keyUsage: [KeyUsage.digitalSignature, KeyUsage.keyCertSign] })),
      /CA/,
    ],
    [
      'that may sign certificates',
      forged(() => ({ keyUsage: [KeyUsage.digitalSignature, KeyUsage.keyCertSign] })),
      /alone/,
    ],
    ['without key usage', forged(() => ({ keyUsage: 'none' })), /what it is for/],
    ['without a purpose', forged(() => ({ purposes: 'none' })), /what it is for/],
    ['for signing code alone', forged(() => ({ purposes: [CODE_SIGNING] })), /purpose/],
    [
      'for enciphering keys alone',
      forged(() => ({ keyUsage: [KeyUsage.keyEncipherment] })),
      /usage|purpose|unsuitable|handshake/,
    ],
    [
      'signed by a leaf',
      (node, id) => {
        const leaf = forge(node.ca, SERVER);
        const signer = {
          privateKey: createPrivateKey(leaf.privateKeyPem),
          ...{ name: derSequence(), notAfterMs: leaf.notAfterMs },
        };
        return forge(node.ca, id, { signer, intermediatesPem: leaf.chainPem });
      },
      /CA|issuer|purpose|usage/i,
    ],
  ],
  'T5: an intermediate that is no CA': [
    ['without basicConstraints', below(), /CA/],
    ['with CA:false', below(makeBasicConstraints(false)), /CA/],
    [
      'that may sign nothing',
      below(makeBasicConstraints(true), makeKeyUsage(KeyUsage.digitalSignature)),
      /usage|CA/,
    ],
  ],
  'T6: a chain that its CAs do not allow': [
    [
      'names of another domain alone',
      below(makeBasicConstraints(true), permittedUri('.elsewhere.example')),
      /permitted subtree/,
    ],
    [
      'longer than the path length',
      (node, id) => {
        const first = forgeIntermediate(node.ca.signer, [makeBasicConstraints(true, 0)]);
        const second = forgeIntermediate(first.signer, [makeBasicConstraints(true)]);
        return forge(node.ca, id, {
          ...{ signer: second.signer, intermediatesPem: [second.pem, first.pem] },
        });
      },
      /path length/,
    ],
    [
      '100 intermediates',
      (node, id) => {
        const chain = [forgeIntermediate(node.ca.signer, [makeBasicConstraints(true)])];
        for (let level = 1; level < 100; level++)
          chain.unshift(
            forgeIntermediate(chain[0]?.signer ?? node.ca.signer, [makeBasicConstraints(true)]),
          );
        return forge(node.ca, id, {
          signer: chain[0]?.signer ?? node.ca.signer,
          intermediatesPem: chain.map(({ pem }) => pem),
        });
      },
      /too long|issuer|excessive/,
    ],
  ],
  'T7: names that must not even be compared': [
    ['an X.400 address', rawName(0xa3, Buffer.from('3000', 'hex')), /other names|cannot be read/],
  ],
  'T8: an RSA key that no CA of a mesh signs': [
    ['of 8,676 bits', withKeys(() => giantRsaKeys(8676)), /8676 bits/],
    ['of 15,636 bits', withKeys(() => giantRsaKeys(15636)), /15636 bits/],
    ['with the exponent 1', withKeys(() => rsaKeysWithExponent(1n)), /exponent 1$/],
    ['with the exponent 3', withKeys(() => rsaKeysWithExponent(3n)), /exponent 3$/],
    [
      'with an exponent of 2,001 bits',
      withKeys(() => rsaKeysWithExponent(2n ** 2000n + 1n)),
      /exponent|refused/,
    ],
  ],
};

/** The nameConstraints extension: only URIs of these hosts. */
function permittedUri(host: string): Buffer {
  const subtree = derSequence(der(0x86, Buffer.from(host)));
  return makeExtension('2.5.29.30', true, derSequence(der(0xa0, subtree)));
}

/** How a session of such a client with a pod of the mesh ends. */
async function dialAs(
  node: TestNode,
  from: TestPod,
  to: TestPod,
  certificate: WorkloadCertificate,
): Promise<'served' | 'refused'> {
  using context = new TlsContext({ ...certificate, rootsPem: [node.ca.rootPem] });
  const end = { netns: from.netns, mark: 0x539 };
  try {
    const session = await HboneSession.open(socketAddress(to.ip, HBONE), end, {
      context: () => Promise.resolve(context),
      ...{ peers: [parseSpiffeId(SERVER)], http2: {} },
    });
    const tunnel = openTunnel(session, { authority: `${to.ip}:8080`, headers: [] });
    const outcome = await tunnel.then(
      () => 'served' as const,
      () => 'refused' as const,
    );
    session.close();
    return outcome;
  } catch {
    return 'refused';
  }
}

/** Serves TLS at a pod's HBONE port with that certificate; `heard` tells whether anything came after the handshake. */
function serveAs(
  t: ExecutionContext,
  pod: TestPod,
  certificate: WorkloadCertificate,
): Disposable & { heard(): boolean } {
  const context = new TlsContext(certificate);
  const collectors: Collector[] = [];
  const address = { ip: parseIpAddress('::'), port: HBONE };
  const bound = bindListener({ address, netns: pod.netns });
  const listener = new TcpListener(bound, {}, (stream) => {
    acceptTls(stream, context).then(
      (tls) => collectors.push(new Collector(tls)),
      () => undefined,
    );
  });
  return {
    heard: () => collectors.some(({ received }) => received > 0),
    [Symbol.dispose]() {
      listener.close();
      for (const { stream } of collectors) stream.reset();
      context.free();
    },
  };
}

for (const [row, cases] of Object.entries(rows)) {
  test.serial(`${row} makes no client`, async (t) => {
    const node = await TestNode.open(t);
    const outside = node.addPlain({ name: 'outside' });
    const server = node.addPod({ name: 'server' });
    let reached = 0;
    server.listen(8080, () => reached++);
    for (const [what, make, reason] of cases) {
      const rejections = node.log.filter(isRejection).length;
      t.is(await dialAs(node, outside, server, make(node, CLIENT)), 'refused', what);
      const records = await node.records(isRejection, rejections + 1);
      t.regex(String(records.at(-1)?.['error']), reason, what);
    }
    t.is(node.metric('istio_tcp_connections_opened_total', 'reporter="destination"'), 0);
    t.is(reached, 0);
    t.is(await dialAs(node, outside, server, forge(node.ca, CLIENT)), 'served', 'what is right');
  });

  test.serial(`${row} makes no server`, async (t) => {
    const node = await TestNode.open(t);
    const client = node.addPod({ name: 'client' });
    const server = node.addPlain({ name: 'server' });
    node.know(server.workload);
    for (const [what, make, reason] of cases) {
      using fake = serveAs(t, server, make(node, SERVER));
      const failures = node.log.filter(isFailure).length;
      const app = await client.connect(server.ip, 8080);
      await app.write('secret');
      await app.until((c) => c.ended || c.error !== undefined);
      t.false(app.ended, what);
      const records = await node.records(isFailure, failures + 1);
      t.regex(String(records.at(-1)?.['error']), reason, what);
      t.false(fake.heard(), what);
    }
  });
}

const unusual: Readonly<Record<string, Make>> = {
  'from a CA whose clock is 90 s ahead': issuedAt(90_000, DAY_MS),
  'of a day, from a CA whose clock is 23 hours behind': issuedAt(-23 * 3_600_000, DAY_MS),
  'for 398 days': issuedAt(CLOCK_SKEW_MS, 398 * DAY_MS - CLOCK_SKEW_MS),
};
for (const [what, make] of Object.entries(unusual))
  test.serial(`T4: a certificate ${what} makes a client, and a server`, async (t) => {
    const node = await TestNode.open(t);
    const outside = node.addPlain({ name: 'outside' });
    const server = node.addPod({ name: 'server' });
    server.listen(8080, () => undefined);
    t.is(await dialAs(node, outside, server, make(node, CLIENT)), 'served');
    const client = node.addPod({ name: 'client' });
    const plain = node.addPlain({ name: 'server' });
    node.know(plain.workload);
    using real = serveAs(t, plain, make(node, SERVER));
    await client.connect(plain.ip, 8080);
    await node.until(() => real.heard());
  });

const isRejection = ({ scope, message }: AccessRecord): boolean =>
  scope === 'access' && message === 'connection failed';
const isFailure = (record: AccessRecord): boolean =>
  record['direction'] === 'outbound' && 'error' in record;
