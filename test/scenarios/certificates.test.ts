import test, { type ExecutionContext } from 'ava';
import { OUTSIDE, startMesh } from '../support/mesh.ts';
import { genuineCertificate, forgingCa, tryTunnels } from '../support/mesh-tunnels.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';
import { Oid } from '../../certs/oids.ts';
import { makeTestCa } from '../support/test-ca.ts';
import type { TunnelCertificate } from '../support/tunnel-task.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('web', { node: 'node-2' }),
    podYaml('books', { node: 'node-2' }),
    podYaml('client', { node: 'node-1' }),
    serviceYaml('web', { 8080: 80 }),
    serviceYaml('books', { 8080: 80 }),
  ].join(''),
});

const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';
const HBONE = 15008;
const MINUTE_MS = 60_000;

test.before('the servers listen', async () => {
  for (const pod of ['web', 'books']) await (await mesh.peer(pod)).listen(80);
});

/** Not a byte reaches the server, the client is told nothing but the end, and the record says why. */
async function expectNoSession(
  t: ExecutionContext,
  certificate: TunnelCertificate | undefined,
  reason: RegExp,
): Promise<void> {
  const web = await mesh.ip('web');
  const mark = mesh.mark();
  const before = await mesh.metrics('node-2');

  const { session, answers } = await tryTunnels(mesh, OUTSIDE, {
    ...{ host: web, port: HBONE, ...(certificate && { certificate }) },
    requests: [{ authority: `${web}:80`, text: 'let me in' }],
  });

  t.not(session, 'open');
  t.deepEqual(answers, []);
  const record = await mesh.record({ direction: 'inbound', 'dst.addr': `${web}:${HBONE}` }, mark);
  t.regex(record.error ?? '', reason);
  t.is(record['src.identity'], undefined);
  const now = await mesh.metrics('node-2');
  t.is(now.growth(before, 'istio_tcp_connections_opened_total'), 0);
}

test.serial('a genuine certificate opens a tunnel, from wherever it is used', async (t) => {
  const certificate = await genuineCertificate(mesh, 'node-1', CLIENT);
  const web = await mesh.ip('web');
  const mark = mesh.mark();
  for (const where of [OUTSIDE, 'node-1', 'node-2']) {
    const task = { host: web, port: HBONE, certificate };
    const requests = [
      { authority: `${web}:80`, text: `from ${where}` },
      { authority: 'web.shop.svc.cluster.local:8080', text: 'by name' },
    ];
    const { session, answers } = await tryTunnels(mesh, where, { ...task, requests });
    t.is(session, 'open', where);
    t.deepEqual(
      answers,
      requests.map(({ text }) => ({ status: 200, text })),
    );
  }
  const records = await mesh.records({ direction: 'inbound', 'src.identity': CLIENT }, mark, 6);
  t.true(records.every(({ error }) => error === undefined));
});

test.serial('a client without a certificate is refused', (t) =>
  expectNoSession(t, undefined, /did not return a certificate/),
);

test.serial('a certificate of another root is refused', (t) =>
  expectNoSession(t, makeTestCa().issue(CLIENT), /unable to get local issuer|self.signed/),
);

test.serial('a certificate of another trust domain is refused, also under our root', (t) =>
  expectNoSession(
    t,
    forgingCa(mesh).issue('spiffe://elsewhere.example/ns/shop/sa/client'),
    /trust domain/,
  ),
);

test.serial('an expired certificate is refused', (t) =>
  expectNoSession(t, forgingCa(mesh).issue(CLIENT, { ttlMs: -MINUTE_MS }), /has expired/),
);

test.serial('a certificate that is not valid yet is refused', (t) =>
  expectNoSession(
    t,
    forgingCa(mesh).issue(CLIENT, { notBeforeInMs: 10 * MINUTE_MS }),
    /not yet valid/,
  ),
);

test.serial('a certificate with two identities, or none, is refused', async (t) => {
  const ca = forgingCa(mesh);
  const uris = [CLIENT, 'spiffe://cluster.local/ns/shop/sa/admin'];
  await expectNoSession(t, ca.issue(CLIENT, { uris }), /URI/);
  await expectNoSession(t, ca.issue(CLIENT, { uris: [], dnsNames: ['client.shop'] }), /URI/);
});

test.serial('a certificate for servers alone is refused as a client', (t) =>
  expectNoSession(t, forgingCa(mesh).issue(CLIENT, { purposes: [Oid.serverAuth] }), /purpose/),
);

test.serial('a genuine certificate leads to the pod itself and to no other address', async (t) => {
  const certificate = await genuineCertificate(mesh, 'node-1', CLIENT);
  const [web, books] = [await mesh.ip('web'), await mesh.ip('books')];
  const node = '172.18.0.12';
  const cases: readonly (readonly [authority: string, status: number])[] = [
    [`${books}:80`, 400],
    [`${await mesh.vip('books')}:8080`, 400],
    [`[${await mesh.ip('web', 6)}]:80`, 400],
    [`${node}:15020`, 400],
    ['127.0.0.1:80', 400],
    ['[::1]:80', 400],
    ['169.254.169.254:80', 400],
    ['0.0.0.0:80', 400],
    ['[::ffff:127.0.0.1]:80', 400],
    [web, 400],
    [`${web}:0`, 400],
    [`${web}:65536`, 400],
    [`${web}:15001`, 503],
    [`${web}:15006`, 503],
    [`${web}:15008`, 503],
    ['books.shop.svc.cluster.local:8080', 503],
    ['web.shop.svc.cluster.local:81', 503],
    ['nobody.example:80', 503],
    [`${web}:81`, 503],
  ];
  const mark = mesh.mark();
  const before = await mesh.metrics('node-2');

  const { session, answers } = await tryTunnels(mesh, OUTSIDE, {
    ...{ host: web, port: HBONE, certificate },
    requests: [
      ...cases.map(([authority]) => ({ authority, text: 'let me in' })),
      { method: 'GET', authority: `${web}:80` },
      { method: 'POST', authority: `${web}:80` },
      { authority: `${web}:80`, text: 'as it should be' },
    ],
  });

  t.is(session, 'open');
  const statuses = answers.slice(0, -3).map(({ status }, index) => [cases[index]?.[0], status]);
  t.deepEqual(statuses, [...cases]);
  t.deepEqual(
    answers.slice(-3).map(({ status }) => status),
    [400, 400, 200],
  );
  t.is(answers.at(-1)?.text, 'as it should be');
  const records = await mesh.records({ direction: 'inbound' }, mark, answers.length);
  for (const [index, [authority]] of cases.entries()) {
    const record = records[index];
    t.is(record?.['dst.hbone_addr'], authority);
    t.truthy(record?.error, authority);
    t.is(record?.['src.identity'], CLIENT);
  }
  const now = await mesh.metrics('node-2');
  const grown = (name: string): number =>
    now.growth(before, name, { reporter: 'destination', source_principal: CLIENT });
  t.is(grown('istio_tcp_connections_opened_total'), 1);
  t.is(grown('istio_tcp_connections_failed_total'), cases.length + 2);
});

test.serial(
  'without an identity of its own, a client pod is refused at the port too',
  async (t) => {
    const web = await mesh.ip('web');
    // A pod of the mesh that dials 15008 by itself is captured like any other connection, and led nowhere.
    const task = { host: web, port: HBONE, requests: [] };
    const { session } = await tryTunnels(mesh, 'client', task);
    t.not(session, 'open');
  },
);
