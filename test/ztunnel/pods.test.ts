import { closeSync, openSync, readdirSync } from 'node:fs';
import test from 'ava';
import { MeshError } from '../../base/errors.ts';
import { TestNode } from '../support/ztunnel-pods.ts';

function drained(): MeshError {
  return new MeshError('ERR_DRAIN', 'local', 'connection closed due to connection drain');
}

test.serial(
  'a drain ends what is idle, lets a long connection live on, and cuts it at the deadline',
  async (t) => {
    const node = await TestNode.open(t);
    const client = node.addPod({ name: 'client' });
    const server = node.addPod({ name: 'server' });
    const accepted = server.accept(8080);
    const app = await client.connect(server.ip, 8080);
    await app.write('before');
    const { app: backend } = await accepted;
    await backend.until((c) => c.received === 6);

    node.pods.stopAll();
    let idle = false;
    const whenIdle = Promise.all([node.connections.whenIdle(), node.pods.whenIdle()]).then(() => {
      idle = true;
    });
    t.is(node.pool.size, 0);
    for (const pod of [client, server])
      t.is(
        pod
          .run('ss -Hltn')
          .split('\n')
          .filter((line) => /:150/.test(line)).length,
        0,
      );
    await t.throwsAsync(client.connect(server.ip, 8080), { message: /ECONNREFUSED/ });
    await app.write(' and after');
    await backend.until((c) => c.received === 16);
    t.is(backend.text, 'before and after');
    t.false(idle);

    node.connections.cutAll(drained());
    await Promise.all([app, backend].map((c) => c.until(({ error }) => error !== undefined)));
    for (const direction of ['inbound', 'outbound'] as const) {
      const record = await node.ended(direction);
      t.is(record['error'], 'connection closed due to connection drain');
      t.is(record['level'], 'error');
    }
    await whenIdle; // the sessions end with their last tunnel
    t.true(idle);
  },
);

test.serial('who waits in a queue that ends with the proxy is served before', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const server = node.addPlain({ name: 'server' }); // which serves on
  server.listen(8080, (app) => {
    void app.write('served');
  });
  const connecting = client.connect(server.ip, 8080);
  // The kernel has done its part in the call before: nothing has been accepted yet.
  node.pods.stopAll();
  const app = await connecting;
  await app.until((c) => c.received === 6);
  t.is(app.text, 'served');
});

test.serial('a pod that is released keeps what is open and begins nothing', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  const accepted = server.accept(8080);
  const app = await client.connect(server.ip, 8080);
  await app.write('before');
  const { app: backend } = await accepted;
  await node.records((r) => r['message'] === 'connection opened', 2);
  node.pods.remove('client');
  t.deepEqual(
    node.pods.contexts().map(({ uid }) => uid),
    ['server'],
  );
  await app.write(' and after');
  await backend.until((c) => c.received === 16);
  await t.throwsAsync(client.connect(server.ip, 8080), { message: /ECONNREFUSED/ });
  app.stream.end();
  backend.stream.end();
  await app.until((c) => c.ended);
  t.is((await node.ended('outbound'))['error'], undefined);
  await node.until(() => node.connections.size === 0);
});

test.serial('a pod that goes while its connection is set up leaves nothing behind', async (t) => {
  const node = await TestNode.open(t);
  const client = node.addPod({ name: 'client' });
  const silent = node.addPlain({ name: 'silent' });
  silent.run(
    'nft add table ip t; nft add chain ip t c "{ type filter hook input priority 0; policy drop; }"',
  );
  node.know(silent.workload);
  const app = await client.connect(silent.ip, 8080);
  await node.until(() => node.connections.size === 1);
  node.pods.remove('client');
  await app.until(({ error }) => error !== undefined);
  t.regex(String((await node.ended('outbound'))['error']), /Cannot serve pod client: it has gone/);
  t.is(node.connections.size, 0);
  t.is(node.pool.size, 0);
});

test.serial('a pod with another namespace takes the place of the one with its uid', async (t) => {
  const node = await TestNode.open(t);
  const before = node.addPod({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  const peers: string[] = [];
  server.listen(8080, (app, peer) => {
    peers.push(peer.ip);
    void app.write('served');
  });
  const first = await before.connect(server.ip, 8080);
  await first.until((c) => c.received === 6);
  const after = node.addPod({ name: 'client', ips: ['10.7.0.77'] });
  t.is(node.pods.contexts().length, 2);
  const second = await after.connect(server.ip, 8080);
  await second.until((c) => c.received === 6);
  t.deepEqual(peers, [before.ip, after.ip]);
  await t.throwsAsync(before.connect(server.ip, 8080), { message: /ECONNREFUSED/ });
});

test.serial('pods that come and go leave no descriptor', async (t) => {
  const node = await TestNode.open(t);
  const pod = node.addPod({ name: 'client' });
  const before = readdirSync('/proc/self/fd').length;
  for (let round = 0; round < 20; round++) {
    node.pods.remove('client');
    node.pods.add(node.handover(pod));
  }
  const handover = node.handover(pod);
  closeSync(handover.hbone.fd);
  t.throws(() => {
    node.pods.add({
      ...handover,
      uid: 'other',
      netnsFd: handover.netnsFd,
      hbone: { fd: openSync('/dev/null', 'r'), transparent: false, kept: false },
    });
  });
  t.is(readdirSync('/proc/self/fd').length, before);
});
