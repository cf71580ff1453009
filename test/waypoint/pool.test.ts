import { EventEmitter, once } from 'node:events';
import test from 'ava';
import { MeshError } from '../../base/errors.ts';
import type { ClientExchange, HttpClientConnection } from '../../net/http/exchange.ts';
import { UpstreamConnection, type ConnectionEvents } from '../../waypoint/upstream/connection.ts';
import {
  PendingConnection,
  type PoolWaiter,
  type UpstreamVersion,
} from '../../waypoint/upstream/endpoint-pool.ts';
import { UpstreamPool } from '../../waypoint/upstream/pool.ts';
import { serveH2 } from '../support/h2-peer.ts';
import { connectHttp2, endpointAt, UNLIMITED } from '../support/waypoint-requests.ts';

/** Connections that are made when the test says so, each with room for so many requests. */
class Dialler {
  readonly dialled: {
    version: UpstreamVersion;
    events: ConnectionEvents;
    open: (room?: number) => FakeConnection;
    fail: () => void;
  }[] = [];
  readonly #events = new EventEmitter();

  async until(dials: number): Promise<void> {
    while (this.dialled.length < dials) await once(this.#events, 'dial');
  }

  readonly connect = (
    _endpoint: unknown,
    version: UpstreamVersion,
    events: ConnectionEvents,
  ): Promise<HttpClientConnection> =>
    new Promise((resolve, reject) => {
      this.dialled.push({
        version,
        events,
        open: (room = version === 'HTTP/2' ? 2 : 1) => {
          const connection = new FakeConnection(room);
          resolve(connection);
          return connection;
        },
        fail: () => {
          reject(new MeshError('ERR_CONNECT', 'upstream', 'Cannot connect'));
        },
      });
      this.#events.emit('dial');
    });
}

class FakeConnection implements HttpClientConnection {
  room: number;
  opened = 0;
  drained = false;

  constructor(room: number) {
    this.room = room;
  }

  availableExchanges(): number {
    return this.drained ? 0 : this.room;
  }

  open(): ClientExchange | undefined {
    if (this.availableExchanges() === 0) return undefined;
    this.room--;
    this.opened++;
    return {} as ClientExchange;
  }

  drain(): void {
    this.drained = true;
  }

  close(): void {
    this.drained = true;
  }
}

class Waiter implements PoolWaiter {
  got: UpstreamConnection | undefined;
  error: unknown;

  onConnection(connection: UpstreamConnection): void {
    this.got = connection;
    connection.open([], true, {});
  }

  onConnectFailure(error: unknown): void {
    this.error = error;
  }
}

const endpoint = endpointAt(1);
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function ask(pool: UpstreamPool, version: UpstreamVersion, limits = UNLIMITED): Waiter {
  const waiter = new Waiter();
  const found = pool.acquire(endpoint, version, limits, waiter);
  if (found instanceof UpstreamConnection) waiter.onConnection(found);
  return waiter;
}

test('requests of HTTP/2 share one connection, and the next is made when it is full', async (t) => {
  const dialler = new Dialler();
  using pool = new UpstreamPool(dialler.connect);
  const waiters = Array.from({ length: 5 }, () => ask(pool, 'HTTP/2'));
  t.is(dialler.dialled.length, 1);
  dialler.dialled[0]?.open(3);
  await settled();
  t.deepEqual(
    waiters.map(({ got }) => got !== undefined),
    [true, true, true, false, false],
  );
  t.is(dialler.dialled.length, 2);
  dialler.dialled[1]?.open(3);
  await settled();
  t.true(waiters.every(({ got }) => got !== undefined));
  t.not(ask(pool, 'HTTP/2').got, undefined);
  t.is(dialler.dialled.length, 2);
});

test('each request of HTTP/1.1 has a connection of its own, the last used one first', async (t) => {
  const dialler = new Dialler();
  using pool = new UpstreamPool(dialler.connect);
  const [first, second] = [ask(pool, 'HTTP/1.1'), ask(pool, 'HTTP/1.1')];
  t.is(dialler.dialled.length, 2);
  const connections = dialler.dialled.map((one) => one.open());
  await settled();
  t.not(first.got, second.got);
  for (const index of [0, 1]) {
    const connection = connections[index];
    if (connection !== undefined) connection.room = 1;
    dialler.dialled[index]?.events.onAvailable();
  }
  t.is(ask(pool, 'HTTP/1.1').got, second.got);
  t.is(ask(pool, 'HTTP/1.1').got, first.got);
  t.is(dialler.dialled.length, 2);
});

for (const version of ['HTTP/1.1', 'HTTP/2'] as const)
  test(`a connection whose peer is silent gets a request when no other can be had, ${version}`, async (t) => {
    const dialler = new Dialler();
    const pool = new UpstreamPool(dialler.connect);
    t.teardown(() => {
      pool[Symbol.dispose]();
    });
    const silent = new Set<number>();
    /** The next connection, on a way of its own, answers its first request. */
    const another = async (): Promise<Waiter> => {
      const number = dialler.dialled.length;
      const waiter = ask(pool, version);
      const dial = dialler.dialled[number] ?? t.fail();
      dial.events.onWay?.({ isUnresponsive: () => silent.has(number) });
      const connection = dial.open();
      await settled();
      connection.room++;
      dial.events.onAvailable();
      return waiter;
    };
    const first = await another();
    silent.add(0);
    const second = await another();
    t.not(second.got, first.got);
    t.is(ask(pool, version, { ...UNLIMITED, maxConnections: 2 }).got, second.got);
    dialler.dialled[1]?.events.onClose();
    t.is(
      ask(pool, version, { ...UNLIMITED, maxConnections: 1 }).got,
      first.got,
      'no other allowed',
    );
    dialler.dialled[0]?.events.onClose();

    const slow: Waiter[] = [];
    while (slow.length < 8) {
      slow.push(await another());
      silent.add(dialler.dialled.length - 1);
    }
    t.is(ask(pool, version).got, slow.at(-1)?.got, 'one more would not help');
  });

test('a failed connection is told to all of HTTP/2, to one of HTTP/1.1', async (t) => {
  const dialler = new Dialler();
  using pool = new UpstreamPool(dialler.connect);
  const two = [ask(pool, 'HTTP/2'), ask(pool, 'HTTP/2')];
  const one = [ask(pool, 'HTTP/1.1'), ask(pool, 'HTTP/1.1')];
  dialler.dialled[0]?.fail();
  dialler.dialled[1]?.fail();
  dialler.dialled[2]?.open();
  await settled();
  t.deepEqual(
    [...two, ...one].map(({ error }) => error !== undefined),
    [true, true, true, false],
  );
  t.not(one[1]?.got, undefined);
});

for (const version of ['HTTP/1.1', 'HTTP/2'] as const)
  test(`who waits for a dial that hangs is dialled for once more, ${version}`, async (t) => {
    const dialler = new Dialler();
    using pool = new UpstreamPool(dialler.connect);
    const waiter = ask(pool, version);
    await dialler.until(2);
    dialler.dialled[1]?.open();
    await settled();
    t.not(waiter.got, undefined);
    dialler.dialled[0]?.fail();
    await settled();
    t.is(waiter.error, undefined);
  });

test('dials that hang are counted on by those alone for whom they were begun', async (t) => {
  const dialler = new Dialler();
  using pool = new UpstreamPool(dialler.connect);
  const first = [ask(pool, 'HTTP/1.1'), ask(pool, 'HTTP/1.1')];
  await dialler.until(3); // once more for both: the way may be blocked
  const later = [ask(pool, 'HTTP/1.1'), ask(pool, 'HTTP/1.1')];
  t.is(dialler.dialled.length, 4);
  dialler.dialled[3]?.open();
  await settled();
  // There is a way: what is missing is dialled at once, beside the one that is not old.
  t.is(dialler.dialled.length, 6);
  for (const dial of dialler.dialled.slice(4)) dial.open();
  dialler.dialled[2]?.open();
  await settled();
  t.true([...first, ...later].every(({ got }) => got !== undefined));
  for (const dial of dialler.dialled.slice(0, 2)) dial.fail();
  await settled();
  t.true([...first, ...later].every(({ error }) => error === undefined));
});

test('a dial that hung and fails is told to nobody who came long after it', async (t) => {
  const dialler = new Dialler();
  using pool = new UpstreamPool(dialler.connect);
  const first = ask(pool, 'HTTP/2');
  await dialler.until(3);
  const later = ask(pool, 'HTTP/2');
  dialler.dialled[0]?.fail();
  await settled();
  t.not(first.error, undefined);
  t.is(later.error, undefined);
});

test('a connection that ends at once is a failure', async (t) => {
  const dialler = new Dialler();
  using pool = new UpstreamPool(dialler.connect);
  const waiter = ask(pool, 'HTTP/2');
  dialler.dialled[0]?.events.onClose();
  dialler.dialled[0]?.open();
  await settled();
  t.is(waiter.error instanceof MeshError && waiter.error.code, 'ERR_UPSTREAM_CLOSED');
});

test('limits of connections and of those who wait hold; who gives up leaves the queue', async (t) => {
  const dialler = new Dialler();
  using pool = new UpstreamPool(dialler.connect);
  const limits = { ...UNLIMITED, maxConnections: 1, maxPendingRequests: 2 };
  const first = ask(pool, 'HTTP/1.1', limits);
  const pending = pool.acquire(endpoint, 'HTTP/1.1', limits, new Waiter());
  t.is(pool.acquire(endpoint, 'HTTP/1.1', limits, new Waiter()), undefined);
  t.is(dialler.dialled.length, 1);
  if (!(pending instanceof PendingConnection)) throw new Error('it does not wait');
  pending.cancel();
  const last = ask(pool, 'HTTP/1.1', limits);
  const connection = dialler.dialled[0]?.open();
  await settled();
  t.not(first.got, undefined);
  t.is(last.got, undefined);
  if (connection !== undefined) connection.room = 1;
  dialler.dialled[0]?.events.onAvailable();
  t.not(last.got, undefined);
});

test('a connection takes so many requests in all, then another one is made', async (t) => {
  const dialler = new Dialler();
  using pool = new UpstreamPool(dialler.connect);
  const limits = { ...UNLIMITED, maxRequestsPerConnection: 2 };
  const waiters = [1, 2, 3].map(() => ask(pool, 'HTTP/2', limits));
  const connection = dialler.dialled[0]?.open(100);
  await settled();
  t.is(connection?.opened, 2);
  t.true(connection?.drained);
  t.is(waiters[2]?.got, undefined);
  t.is(dialler.dialled.length, 2);
});

test('what is idle for too long is ended, and its endpoint forgotten', async (t) => {
  const server = serveH2(t, (stream) => {
    stream.respond([':status', '200'], { endStream: true });
  });
  using pool = new UpstreamPool((to, _version, events) => connectHttp2(to, events));
  const waiter = new Waiter();
  await new Promise<void>((resolve) => {
    waiter.onConnection = (connection) => {
      connection.open(
        [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'x'],
        true,
        {
          onResponse: () => {
            resolve();
          },
        },
      );
    };
    pool.acquire(endpointAt(server.port), 'HTTP/2', UNLIMITED, waiter);
  });
  pool.sweep(performance.now());
  t.is(pool.size, 1);
  pool.sweep(performance.now() + UNLIMITED.idleTimeoutMs + 1);
  await server.untilClosed();
  t.deepEqual(server.closed, [undefined]);
  while (pool.size > 0) await settled();
});
