import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ZdsClient, type ZdsHandler } from '../../../mesh/zds/client.ts';
import {
  encodeAck,
  encodeHello,
  encodeRequest,
  type ZdsPodInfo,
} from '../../../mesh/zds/messages.ts';
import { ZdsServer, type ZdsPod, type ZdsServerOptions } from '../../../mesh/zds/server.ts';
import { openNetns } from '../../../net/netns.ts';
import { connectSeqpacket, listenSeqpacket, type SeqpacketSocket } from '../../../net/unix.ts';
import { openNamespace } from '../../deploy/support.ts';

const info = (name: string): ZdsPodInfo => ({ name, namespace: 'shop', serviceAccount: 'cart' });

function socketPath(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'halo-zds-'));
  t.teardown(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return join(folder, 'node', 'ztunnel.sock');
}

/** Collects what happens, and lets a test wait for the next of it. */
class Journal {
  readonly entries: string[] = [];
  #waiters: { count: number; resolve: () => void }[] = [];

  add(entry: string): void {
    this.entries.push(entry);
    this.#waiters = this.#waiters.filter(({ count, resolve }) => {
      if (this.entries.length < count) return true;
      resolve();
      return false;
    });
  }

  async upTo(count: number): Promise<readonly string[]> {
    if (this.entries.length < count)
      await new Promise<void>((resolve) => this.#waiters.push({ count, resolve }));
    return this.entries;
  }
}

type Proxy = Readonly<{ client: ZdsClient; journal: Journal; logs: Journal; errors: string[] }>;

function openProxy(
  t: ExecutionContext,
  path: string,
  refuse: (uid: string) => boolean = () => false,
): Proxy {
  const journal = new Journal();
  const logs = new Journal();
  const errors: string[] = [];
  const handler: ZdsHandler = {
    add: (uid, { name }, netns) => {
      netns.close();
      if (refuse(uid)) return Promise.reject(new Error('no room'));
      journal.add(`add ${uid} ${name} ${netns.id}`);
      return Promise.resolve();
    },
    remove: (uid) => {
      journal.add(`remove ${uid}`);
      return Promise.resolve();
    },
  };
  const client = new ZdsClient({
    ...{ path, handler },
    onReady: (ready) => {
      journal.add(ready ? 'ready' : 'not ready');
    },
    onProtocolError: (error) => errors.push(error.message),
    log: (message) => {
      logs.add(message);
    },
  });
  t.teardown(() => {
    client.close();
  });
  return { client, journal, logs, errors };
}

function openAgent(
  t: ExecutionContext,
  path: string,
  change: Partial<ZdsServerOptions> = {},
): { server: ZdsServer; pods: ZdsPod[]; snapshots: Journal } {
  const pods: ZdsPod[] = [];
  const snapshots = new Journal();
  const server = new ZdsServer({
    path,
    snapshot: () => pods,
    onSnapshotSent: (failures) => {
      snapshots.add(failures.map(({ uid, error }) => `${uid}: ${error}`).join());
    },
    log: () => undefined,
    ...change,
  });
  t.teardown(() => {
    server.close();
  });
  return { server, pods, snapshots };
}

test('a proxy that connects is given every pod with its namespace, then each change', async (t) => {
  const path = socketPath(t);
  const netns = openNetns(await openNamespace(t));
  const { server, pods } = openAgent(t, path);
  pods.push({ uid: 'one', info: info('cart-1'), netns });
  const { journal } = openProxy(t, path);
  t.deepEqual(await journal.upTo(2), [`add one cart-1 ${netns.id}`, 'ready']);
  t.is(statSync(path).mode & 0o777, 0o600);
  t.is(statSync(join(path, '..')).mode & 0o777, 0o700);

  const other = openNetns(await openNamespace(t));
  t.deepEqual(await server.add({ uid: 'two', info: info('cart-2'), netns: other }), {
    kind: 'acked',
  });
  await server.remove('one');
  t.deepEqual((await journal.upTo(4)).slice(2), [`add two cart-2 ${other.id}`, 'remove one']);
});

test('without a proxy an add says so at once', async (t) => {
  const { server } = openAgent(t, socketPath(t));
  t.deepEqual(await server.add({ uid: 'one', info: info('a') }), { kind: 'no-proxy' });
});

test('the same pod in the same namespace is left alone, in another it is replaced', async (t) => {
  const path = socketPath(t);
  const { server, snapshots } = openAgent(t, path);
  const { journal } = openProxy(t, path);
  await snapshots.upTo(1);
  const first = openNetns(await openNamespace(t));
  const second = openNetns(await openNamespace(t));
  for (const netns of [first, first, second])
    t.deepEqual(await server.add({ uid: 'one', info: info('a'), netns }), { kind: 'acked' });
  t.deepEqual((await journal.upTo(4)).slice(1), [
    `add one a ${first.id}`,
    'remove one',
    `add one a ${second.id}`,
  ]);
});

test('after a restart of the agent pods that it names are served on, others are dropped', async (t) => {
  const path = socketPath(t);
  const netns = openNetns(await openNamespace(t));
  const before = openAgent(t, path);
  before.pods.push(
    { uid: 'kept', info: info('a'), netns },
    { uid: 'gone', info: info('b'), netns },
  );
  const { journal } = openProxy(t, path);
  await journal.upTo(3);
  before.server.close();
  t.is((await journal.upTo(4)).at(-1), 'not ready');

  const after = openAgent(t, path);
  after.pods.push({ uid: 'kept', info: info('a') }); // Keep: no namespace at hand
  t.deepEqual((await journal.upTo(6)).slice(4), ['remove gone', 'ready']);
});

test('a proxy that is told that the agent is there again looks for it at once', async (t) => {
  const path = socketPath(t);
  const { client, journal, logs } = openProxy(t, path);
  const first = openAgent(t, path);
  client.connectNow();
  await journal.upTo(1);
  t.deepEqual(journal.entries, ['ready']);
  first.server.close();
  t.is((await logs.upTo(1)).length, 1);
  // No timer runs while this agent is there: it is found now, and then lost, or never.
  const second = openAgent(t, path);
  client.connectNow();
  second.server.close();
  t.regex((await logs.upTo(2)).at(-1) ?? '', /the node agent is away/);
});

test('adds go to the newest proxy, deletions to all', async (t) => {
  const path = socketPath(t);
  const netns = openNetns(await openNamespace(t));
  const { server, pods, snapshots } = openAgent(t, path);
  pods.push({ uid: 'old', info: info('a'), netns });
  const first = openProxy(t, path);
  await snapshots.upTo(1);
  const second = openProxy(t, path);
  await snapshots.upTo(2);
  await server.add({ uid: 'new', info: info('b'), netns });
  await server.remove('old');
  t.deepEqual(first.journal.entries.slice(2), ['remove old']);
  t.deepEqual(second.journal.entries.slice(2), [`add new b ${netns.id}`, 'remove old']);
});

test('a proxy that drains takes no pod, hears of those that go, and does not come back', async (t) => {
  const path = socketPath(t);
  const netns = openNetns(await openNamespace(t));
  const { server, pods, snapshots } = openAgent(t, path);
  pods.push({ uid: 'one', info: info('a'), netns });
  const { client, journal } = openProxy(t, path);
  await snapshots.upTo(1);
  client.drain();
  t.false(client.ready);
  t.deepEqual(await server.add({ uid: 'two', info: info('b'), netns }), {
    ...{ kind: 'refused', error: 'this proxy is about to end' },
  });
  await server.remove('one');
  t.deepEqual(journal.entries, [`add one a ${netns.id}`, 'ready', 'not ready', 'remove one']);

  // The one that takes its place says hello to the next agent; this one does not.
  server.close();
  const after = openAgent(t, path);
  after.pods.push({ uid: 'three', info: info('c'), netns });
  const next = openProxy(t, path);
  await next.journal.upTo(2);
  t.is(journal.entries.length, 4);
});

test('a pod that cannot be served is told to the agent and makes the proxy unready', async (t) => {
  const path = socketPath(t);
  const netns = openNetns(await openNamespace(t));
  const { server, snapshots } = openAgent(t, path);
  const { client } = openProxy(t, path, (uid) => uid === 'bad');
  await snapshots.upTo(1);
  t.deepEqual(await server.add({ uid: 'bad', info: info('a'), netns }), {
    kind: 'refused',
    error: 'no room',
  });
  t.false(client.ready);
  t.is(client.pendingPods, 1);
  await server.remove('bad');
  t.true(client.ready);
  t.is(client.pendingPods, 0);
});

test('a descriptor that is no namespace is refused and used for nothing (C8)', async (t) => {
  const path = socketPath(t);
  const { journal, errors } = openProxy(t, path);
  const socket = await scriptedAgent(t, path);
  const request = encodeRequest({ kind: 'add', uid: 'one', info: info('a') });
  socket.send(request, 0); // standard input
  const answer = await nextMessage(socket);
  t.regex(answer.toString(), /network namespace/);
  t.deepEqual([...journal.entries, ...errors], []);
});

test('a second snapshot on one connection is a breach of protocol', async (t) => {
  const path = socketPath(t);
  const { journal, errors } = openProxy(t, path);
  const socket = await scriptedAgent(t, path);
  const snapshot = encodeRequest({ kind: 'snapshot-sent' });
  socket.send(snapshot);
  t.deepEqual(await nextMessage(socket), Buffer.from(encodeAck()));
  socket.send(snapshot);
  await journal.upTo(2);
  t.is(errors.length, 1);
});

test('the agent does not listen where something other than a socket stands (C8)', (t) => {
  const path = join(mkdtempSync(join(tmpdir(), 'halo-zds-')), 'ztunnel.sock');
  t.teardown(() => {
    rmSync(join(path, '..'), { recursive: true, force: true });
  });
  writeFileSync(path, 'someone else');
  t.throws(() => openAgent(t, path), { code: 'ERR_SOCKET_PATH' });
});

test('an agent ends a connection that acks what was not asked', async (t) => {
  const path = socketPath(t);
  openAgent(t, path);
  const socket = connectSeqpacket(path);
  const closed = new Promise<void>((resolve) => {
    socket.setHandler({
      onMessage: () => {
        socket.send(encodeAck()); // the snapshot
        socket.send(encodeAck()); // nothing
      },
      onClose: () => {
        resolve();
      },
    });
  });
  socket.send(encodeHello());
  await closed;
  t.pass();
});

/** An agent that does what the test says; resolves when the proxy has said hello. */
async function scriptedAgent(t: ExecutionContext, path: string): Promise<SeqpacketSocket> {
  const { promise, resolve } = Promise.withResolvers<SeqpacketSocket>();
  const listener = listenSeqpacket({
    path,
    onConnection: (socket) => {
      socket.setHandler({
        onMessage: () => {
          resolve(socket);
        },
        onClose: () => undefined,
      });
    },
  });
  const socket = await promise;
  t.teardown(() => {
    listener.close();
    socket.close();
  });
  return socket;
}

function nextMessage(socket: SeqpacketSocket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    socket.setHandler({
      onMessage: (bytes) => {
        resolve(Buffer.from(bytes));
      },
      onClose: () => {
        reject(new Error('the proxy closed'));
      },
    });
  });
}

test('a proxy that is closed while it takes a pod does not try again', async (t) => {
  const path = socketPath(t);
  const netns = openNetns(await openNamespace(t));
  const { pods } = openAgent(t, path);
  pods.push({ uid: 'one', info: info('cart-1'), netns });
  const [begun, outcome] = [Promise.withResolvers<undefined>(), Promise.withResolvers<undefined>()];
  const said: string[] = [];
  const client = new ZdsClient({
    path,
    handler: {
      add: (_uid, _info, own) => {
        own.close();
        begun.resolve(undefined);
        return outcome.promise;
      },
      remove: () => Promise.resolve(),
    },
    onReady: () => undefined,
    onProtocolError: () => undefined,
    log: (line) => {
      said.push(line);
    },
  });
  await begun.promise;
  client.close();
  outcome.reject(new Error('its sockets are closed'));
  await new Promise(setImmediate);
  t.deepEqual(said, []); // what is tried again is said
});
