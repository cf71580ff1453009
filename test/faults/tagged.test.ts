import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { resetSocket } from '../../base/reset-socket.ts';
import { TaggedLoad, type LoadReport, type LoadTask } from '../support/tagged-load.ts';
import { TaggedServer, type ServerReport } from '../support/tagged-server.ts';

/*
 * The judge is judged: a load and a server with somebody between them who does what a mesh must never do.
 */

/** What somebody between does with a connection, both of whose sockets are open. */
type Between = (client: Socket, server: Socket) => void;

const ENOUGH = 20;

async function listen(t: ExecutionContext, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Some connections through `between`, and what both ends make of them. */
async function judged(
  t: ExecutionContext,
  between: Between,
  {
    name = 'shop/web',
    target = 'shop/web',
    refused = [],
    carrier = 'tcp',
  }: Readonly<{
    name?: string;
    target?: string;
    refused?: string[];
    carrier?: LoadTask['carrier'];
  }> = {},
): Promise<LoadReport & { served: ServerReport }> {
  const tagged = new TaggedServer(name, refused);
  t.teardown(() => {
    tagged.httpServer.closeAllConnections();
  });
  const to = await listen(t, carrier === 'http' ? tagged.httpServer : tagged.server);
  const middle = createServer({ allowHalfOpen: true }, (client) => {
    const server = connect({ host: '127.0.0.1', port: to, allowHalfOpen: true });
    for (const [one, other] of [
      [client, server],
      [server, client],
    ] as const)
      one.on('error', () => {
        resetSocket(other);
      });
    between(client, server);
  });
  const port = await listen(t, middle);
  const task: LoadTask = {
    name: 'load',
    host: '127.0.0.1',
    port,
    target,
    periodMs: 5,
    slowEvery: 0,
    expect: 'answer',
    carrier,
  };
  const load = new TaggedLoad('shop/client', task);
  const sum = {
    began: 0,
    open: 0,
    attempts: [] as LoadReport['attempts'][number][],
    wrong: [] as string[],
  };
  const take = ({ attempts, wrong }: LoadReport): void => {
    sum.attempts.push(...attempts);
    sum.wrong.push(...wrong);
  };
  while (sum.attempts.length < ENOUGH) {
    await delay(5);
    take(load.take());
  }
  await load.stop(2_000);
  take(load.take());
  return { ...sum, served: tagged.take() };
}

const honest: Between = (client, server) => {
  client.pipe(server);
  server.pipe(client);
};

test('all that is carried as it was sent is complete at both ends', async (t) => {
  const { attempts, wrong, served } = await judged(t, honest);
  t.deepEqual([...wrong, ...served.wrong], []);
  t.deepEqual([...new Set(attempts.map(({ how }) => how))], ['complete']);
  t.true(served.complete >= ENOUGH);
});

test('so is all that an exchange of HTTP carries', async (t) => {
  const { attempts, wrong, served } = await judged(t, honest, { carrier: 'http' });
  t.deepEqual([...wrong, ...served.wrong], []);
  t.deepEqual([...new Set(attempts.map(({ how }) => how))], ['complete']);
  t.true(served.complete >= ENOUGH);
});

test('an answer of HTTP that was cut is a clean error, and one that ends in order before its time is wrong', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
  const cut = await judged(
    t,
    (client) => {
      client.resume().end(`${head}5\r\n{"ser`);
    },
    { carrier: 'http' },
  );
  t.deepEqual(cut.wrong, []);
  t.deepEqual([...new Set(cut.attempts.map(({ how }) => how))], ['ECONNRESET']);
  const ended = await judged(
    t,
    (client) => {
      client.resume().end(`${head}5\r\n{"ser\r\n0\r\n\r\n`);
    },
    { carrier: 'http' },
  );
  t.regex(ended.wrong.join(), /an end in order after 0 bytes/);
});

test('an answer of HTTP of another connection is found, and a refusal is a clean error', async (t) => {
  const reply = (status: string, body: string): Between => {
    const fields = `Content-Length: ${body.length}\r\n`;
    return (client) => {
      client.once('data', () => client.resume().end(`HTTP/1.1 ${status}\r\n${fields}\r\n${body}`));
    };
  };
  const other = `${JSON.stringify({ server: 'shop/web', nonce: -1 })}\n`;
  const found = await judged(t, reply('200 OK', other), { carrier: 'http' });
  t.regex(found.wrong.join(), /an answer of another connection/);
  const refused = await judged(t, reply('503 No', ''), { carrier: 'http' });
  t.deepEqual(refused.wrong, []);
  t.deepEqual([...new Set(refused.attempts.map(({ how }) => how))], ['HTTP_503']);
});

test('a byte that is changed is found, whichever way it went', async (t) => {
  const change = (chunk: Buffer): Buffer => {
    const copy = Buffer.from(chunk);
    copy[copy.length - 1] = (copy.at(-1) ?? 0) ^ 1;
    return copy;
  };
  const up = await judged(t, (client, server) => {
    client.on('data', (chunk: Buffer) => server.write(change(chunk))).on('end', () => server.end());
    server.pipe(client);
  });
  t.regex(up.served.wrong.join(), /another byte than was sent/);
  const down = await judged(t, (client, server) => {
    client.pipe(server);
    server.on('data', (chunk: Buffer) => client.write(change(chunk))).on('end', () => client.end());
  });
  t.regex(down.wrong.join(), /another byte than was sent/);
});

test('an end in order before all has come is found, whichever way it went', async (t) => {
  const up = await judged(t, (client, server) => {
    client.once('data', (chunk: Buffer) => server.end(chunk.subarray(0, -1)));
    server.pipe(client);
  });
  t.regex(up.served.wrong.join(), /an end in order after/);
  const down = await judged(t, (client, server) => {
    client.pipe(server);
    server.once('data', (chunk: Buffer) => client.end(chunk.subarray(0, -1)));
  });
  t.regex(down.wrong.join(), /an end in order after/);
});

test('a reset is an error and nothing wrong', async (t) => {
  const { attempts, wrong, served } = await judged(t, (client, server) => {
    client.once('data', () => {
      resetSocket(client);
      resetSocket(server);
    });
  });
  t.deepEqual([...wrong, ...served.wrong], []);
  t.false(attempts.some(({ how }) => how === 'complete'));
});

test('a connection that comes to another pod is found and ended', async (t) => {
  const { wrong, served } = await judged(t, honest, { name: 'shop/other' });
  t.regex(served.wrong.join(), /a connection to another pod/);
  t.true(wrong.length === 0, 'it is reset before it says more');
});

test('a caller whom policy keeps out is found when it comes in', async (t) => {
  const { served } = await judged(t, honest, { refused: ['shop/client'] });
  t.regex(served.wrong.join(), /a connection that policy refuses/);
});

test('another source address than the caller had is found', async (t) => {
  const { served } = await judged(t, (client, server) => {
    client.once('data', (chunk: Buffer) => {
      server.write(chunk.toString('latin1').replace('127.0.0.1', '127.0.0.9'), 'latin1');
      client.pipe(server);
    });
    server.pipe(client);
  });
  t.regex(served.wrong.join(), /a caller under the address 127.0.0.1/);
});
