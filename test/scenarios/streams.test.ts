import test from 'ava';
import { startMesh } from '../support/mesh.ts';
import { namespaceYaml, podYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    podYaml('client', { node: 'node-1' }),
    podYaml('web', { node: 'node-2' }),
  ].join(''),
});

const ECHO = 9000;
const QUEUE = 9001;
const GREETER = 9002;
const GIB = 1 << 30;
const BULK_TIMEOUT_MS = 90_000;
/** Of a connection that its own ends ended. */
const NO_FAULT = { error: undefined, 'tls.group': 'X25519MLKEM768' };

let webIp = '';
test.serial.before('the server listens', async () => {
  const web = await mesh.peer('web');
  await web.listen(ECHO);
  await web.listen(QUEUE, 'queue');
  await web.listen(GREETER, 'echo', { greeting: '220 web is ready\r\n' });
  webIp = await mesh.ip('web');
});

test.serial('a server that speaks first is heard before the client has said a word', async (t) => {
  const mark = mesh.mark();
  const client = await mesh.peer('client');
  const connection = await client.connect(webIp, GREETER);
  t.deepEqual(await connection.read(18), { text: '220 web is ready\r\n' });
  t.true(await connection.echo('EHLO client'));
  await connection.end();
  t.is((await connection.ended()).how, 'end');
  for (const direction of ['outbound', 'inbound'] as const) {
    const record = await mesh.record({ direction }, mark);
    const [said, heard] = [record['bytes_sent'], record['bytes_recv']];
    t.deepEqual(direction === 'outbound' ? [said, heard] : [heard, said], [11, 18 + 11]);
    t.like(record, NO_FAULT);
  }
});

test.serial(
  'the end of one direction is handed on, and the other goes on as long as it wants (R7)',
  async (t) => {
    const [client, web] = [await mesh.peer('client'), await mesh.peer('web')];
    for (const first of ['client', 'server'] as const) {
      const mark = mesh.mark();
      const atClient = await client.connect(webIp, QUEUE);
      const atServer = await web.accept(QUEUE);
      const [early, late] = first === 'client' ? [atClient, atServer] : [atServer, atClient];
      await early.write('all I say');
      await early.end();
      t.deepEqual(await late.ended(), { how: 'end', text: 'all I say' });
      for (const text of ['still ', 'speaking']) {
        await late.write(text);
        t.deepEqual(await early.read(text.length), { text });
      }
      t.deepEqual(mesh.recordsSince(mark), [], 'it is not over');
      await late.end();
      t.deepEqual(await early.ended(), { how: 'end', text: '' });
      const bytes = first === 'client' ? [9, 14] : [14, 9];
      const [bytes_sent, bytes_recv] = bytes;
      t.like(await mesh.record({ direction: 'outbound' }, mark), {
        ...NO_FAULT,
        bytes_sent,
        bytes_recv,
      });
      t.like(await mesh.record({ direction: 'inbound' }, mark), {
        ...{ ...NO_FAULT, bytes_sent: bytes_recv, bytes_recv: bytes_sent },
      });
    }
  },
);

test.serial('a reset is a reset at the other end, and no fault of the mesh (R7)', async (t) => {
  const [client, web] = [await mesh.peer('client'), await mesh.peer('web')];
  for (const first of ['client', 'server'] as const) {
    const mark = mesh.mark();
    const atClient = await client.connect(webIp, QUEUE);
    const atServer = await web.accept(QUEUE);
    await atClient.write('x');
    await atServer.read(1);
    const [resetter, other] = first === 'client' ? [atClient, atServer] : [atServer, atClient];
    await resetter.reset();
    t.is((await other.ended()).how, 'ECONNRESET');
    for (const direction of ['outbound', 'inbound'] as const)
      t.like(await mesh.record({ direction }, mark), NO_FAULT);
  }
});

test.serial(
  'a thousand connections at once are each their own, through ten sessions',
  async (t) => {
    const mark = mesh.mark();
    const [atClient, atServer] = [await mesh.metrics('node-1'), await mesh.metrics('node-2')];
    const client = await mesh.peer('client');
    const { group, ...opened } = await client.ask('openMany', {
      host: webIp,
      port: ECHO,
      count: 1000,
    });
    t.deepEqual(opened, { echoed: 1000, failures: [] });
    t.deepEqual(await client.ask('echoMany', { group }), { echoed: 1000, failures: [] });
    for (const [node, before] of [
      ['node-1', atClient],
      ['node-2', atServer],
    ] as const) {
      const now = await mesh.metrics(node);
      t.is(now.growth(before, 'istio_tcp_connections_opened_total'), 1000);
      t.is(now.growth(before, 'istio_tcp_connections_closed_total'), 0);
    }
    t.deepEqual(await client.ask('endMany', { group }), { ended: 1000 });
    for (const direction of ['outbound', 'inbound'] as const) {
      const records = await mesh.records({ direction, error: undefined }, mark, 1000);
      t.is(records.length, 1000);
    }
    const inbound = mesh.recordsSince(mark).filter(({ direction }) => direction === 'inbound');
    const sessions = new Set(inbound.map((record) => record['src.addr'])).size;
    // One may be there already, with room left.
    t.true(sessions >= 10 && sessions <= 11, `${sessions} sessions of 100 streams`);
  },
);

test.serial('a GiB each way at once arrives as it was sent', async (t) => {
  const mark = mesh.mark();
  const [client, web] = [await mesh.peer('client'), await mesh.peer('web')];
  const atClient = await client.connect(webIp, QUEUE);
  const atServer = await web.accept(QUEUE);
  const [up, down, gotUp, gotDown] = await Promise.all([
    atClient.send(GIB, BULK_TIMEOUT_MS),
    atServer.send(GIB, BULK_TIMEOUT_MS),
    atServer.receive(GIB, BULK_TIMEOUT_MS),
    atClient.receive(GIB, BULK_TIMEOUT_MS),
  ]);
  t.deepEqual(gotUp, up);
  t.deepEqual(gotDown, down);
  t.not(up.sha256, down.sha256);
  await atClient.end();
  t.is((await atServer.ended()).how, 'end');
  await atServer.end();
  t.is((await atClient.ended()).how, 'end');
  for (const direction of ['outbound', 'inbound'] as const)
    t.like(await mesh.record({ direction }, mark), {
      ...{ ...NO_FAULT, bytes_sent: GIB, bytes_recv: GIB },
    });
});
