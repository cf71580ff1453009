import { once } from 'node:events';
import test from 'ava';
import { makeH2Clock } from '../../support/h2-clock.ts';
import {
  GET,
  type OpenExchange,
  openExchange,
  POST,
  startClient,
} from '../../support/http1-peer.ts';

const SENT_GET = 'GET / HTTP/1.1\r\nhost: a.test\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

async function ended({ body }: OpenExchange): Promise<string> {
  await body.until((b) => b.ended || b.error !== undefined);
  if (body.error !== undefined) throw body.error;
  return body.text;
}

async function failure({ body }: OpenExchange): Promise<Error | undefined> {
  await body.until((b) => b.error !== undefined);
  return body.error;
}

test('a connection serves one exchange after another, and says when it can', async (t) => {
  const client = await startClient(t);
  for (let count = 1; count <= 3; count++) {
    t.is(client.connection.availableExchanges(), 1);
    const open = openExchange(client.connection);
    t.is(client.connection.availableExchanges(), 0);
    t.is(client.connection.open(GET, true, {}), undefined);
    await client.peer.untilText(SENT_GET);
    client.peer.send(OK);
    t.is(await ended(open), 'ok');
    t.deepEqual(open.told.responses, [[':status', '200', 'content-length', '2']]);
    t.true(open.exchange.closed);
    t.is(client.available(), count);
  }
});

test('an exchange can be opened from the end of the one before', async (t) => {
  const { connection, peer } = await startClient(t);
  const first = openExchange(connection);
  let second: OpenExchange | undefined;
  first.exchange.setSink({
    capacity: () => 100,
    onData: (_bytes, _offset, length) => length,
    onEnd: () => (second = openExchange(connection)),
    onError: () => undefined,
    onWritable: () => undefined,
  });
  await peer.untilText(SENT_GET);
  peer.send(OK);
  await peer.untilText(SENT_GET + SENT_GET);
  peer.send(OK);
  t.is(second === undefined ? '' : await ended(second), 'ok');
});

test('a body is sent in chunks, or as long as its content-length says, and trailers behind chunks', async (t) => {
  const { connection, peer } = await startClient(t);
  const chunked = openExchange(connection, POST);
  await chunked.body.write('hello');
  chunked.exchange.sendTrailers(['x-sum', '1']);
  const first = await peer.untilText('x-sum: 1\r\n\r\n');
  t.is(
    first,
    'POST / HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n',
  );
  peer.send(OK);
  await ended(chunked);
  const plain = openExchange(connection, [
    ...POST,
    'content-length',
    '5',
    'cookie',
    'a',
    'cookie',
    'b',
  ]);
  await plain.body.write('hello');
  plain.exchange.end();
  const second = await peer.untilText('hello');
  t.is(
    second.slice(first.length),
    'POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\ncookie: a; b\r\n\r\nhello',
  );
  peer.send(OK);
  t.is(await ended(plain), 'ok');
});

test('a body of large chunks arrives as it was, its framing too', async (t) => {
  const { connection, peer } = await startClient(t);
  const open = openExchange(connection, POST);
  const content = Buffer.alloc(3 << 20, 'abcdefghijklmnop');
  await open.body.write(content);
  open.exchange.end();
  const text = await peer.untilText('\r\n0\r\n\r\n');
  let at = text.indexOf('\r\n\r\n') + 4;
  let body = '';
  for (;;) {
    const lineEnd = text.indexOf('\r\n', at);
    const size = parseInt(text.slice(at, lineEnd), 16);
    if (size === 0) break;
    body += text.slice(lineEnd + 2, lineEnd + 2 + size);
    at = lineEnd + 2 + size + 2;
    t.is(text.slice(at - 2, at), '\r\n');
  }
  t.true(body === content.toString('latin1'));
});

for (const [what, answer, text] of [
  [
    'chunks',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n',
    'abc',
  ],
  ['no body', 'HTTP/1.1 204 No Content\r\n\r\n', ''],
] as const)
  test(`an answer with ${what} leaves the connection to the next exchange`, async (t) => {
    const { connection, peer } = await startClient(t);
    const open = openExchange(connection);
    await peer.untilText(SENT_GET);
    for (const byte of answer) {
      peer.send(byte);
      await new Promise(setImmediate);
    }
    t.is(await ended(open), text);
    t.deepEqual(open.told.trailers, text === '' ? [] : [['x-sum', '1']]);
    t.is(connection.availableExchanges(), 1);
  });

for (const [what, answer] of [
  ['an answer up to the end', 'HTTP/1.1 200 OK\r\n\r\nabc'],
  ['connection: close', 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc'],
  ['HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc'],
] as const)
  test(`${what} is the last one of its connection`, async (t) => {
    const { connection, peer, closed } = await startClient(t);
    const open = openExchange(connection);
    await peer.untilText(SENT_GET);
    peer.send(answer);
    peer.socket.end();
    t.is(await ended(open), 'abc');
    t.is(await closed, undefined);
    t.is(connection.availableExchanges(), 0);
    t.is(await peer.untilEnd(), 'end');
  });

for (const [what, answer] of [
  ['a length', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc'],
  ['chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc'],
  ['a head', 'HTTP/1.1 200 OK\r\nContent-Le'],
  ['nothing', ''],
] as const)
  test(`a server that ends amid its answer (${what}) is an error, never an end`, async (t) => {
    const { connection, peer, closed } = await startClient(t);
    const open = openExchange(connection);
    await peer.untilText(SENT_GET);
    peer.send(answer);
    peer.socket.end();
    t.like(await failure(open), {
      code: 'ERR_HTTP1_EXCHANGE',
      side: 'upstream',
      processed: true,
      keepAliveRace: false,
    });
    t.is(open.told.error, open.body.error);
    t.false(open.body.ended);
    t.like(await closed, { code: 'ERR_HTTP1_CONNECTION' });
  });

test('an exchange on a connection that was just closed idle is told from one that was read', async (t) => {
  const { connection, peer } = await startClient(t);
  const first = openExchange(connection);
  await peer.untilText(SENT_GET);
  peer.send(OK);
  await ended(first);
  // The server's end and our request pass each other.
  peer.socket.end();
  const second = openExchange(connection);
  t.like(await failure(second), { processed: true, keepAliveRace: true, side: 'upstream' });
});

test('a request of which nothing was sent was not processed', async (t) => {
  const { connection, peer } = await startClient(t);
  const first = openExchange(connection);
  await peer.untilText(SENT_GET);
  peer.send(OK);
  await ended(first);
  const second = openExchange(connection, POST);
  connection.close(); // in the same turn: it was staged only
  t.like(second.told.error, { processed: false, side: 'local' });
});

test('an answer that began is no keep-alive race', async (t) => {
  const { connection, peer } = await startClient(t);
  const first = openExchange(connection);
  await peer.untilText(SENT_GET);
  peer.send(OK);
  await ended(first);
  const second = openExchange(connection);
  await peer.untilText(SENT_GET + SENT_GET);
  peer.send('HTTP/1.1 100 Continue\r\n\r\n');
  peer.socket.end();
  t.like(await failure(second), { processed: true, keepAliveRace: false });
});

test('bytes that nobody asked for end an idle connection, and one whose answer is whole', async (t) => {
  const { connection, peer, closed } = await startClient(t);
  const open = openExchange(connection);
  await peer.untilText(SENT_GET);
  peer.send(`${OK}HTTP/1.1 200 OK\r\n`);
  t.is(await ended(open), 'ok');
  t.like(await closed, { code: 'ERR_HTTP1_CONNECTION', side: 'upstream' });
  t.is(connection.availableExchanges(), 0);
  t.is(await peer.untilEnd(), 'ECONNRESET');
});

for (const [what, answer] of [
  [
    'CL and TE',
    'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 2\r\n\r\nabc'],
  ['204 with a body', 'HTTP/1.1 204 No\r\nContent-Length: 3\r\n\r\nabc'],
  ['101 unasked', 'HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'],
  ['a storm of 1xx', 'HTTP/1.1 103 Early\r\n\r\n'.repeat(40)],
  ['a bare LF', 'HTTP/1.1 200 OK\nContent-Length: 3\r\n\r\nabc'],
  ['a chunk without size', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc'],
] as const)
  test(`an answer that could be read in two ways (${what}) is an error, and its connection ends`, async (t) => {
    const { connection, peer, closed } = await startClient(t);
    const open = openExchange(connection);
    await peer.untilText(SENT_GET);
    peer.send(answer);
    t.like(await failure(open), { code: 'ERR_HTTP1_EXCHANGE', side: 'upstream' });
    t.like(await closed, { side: 'upstream' });
    t.is(await peer.untilEnd(), 'ECONNRESET');
  });

test('a body waits for 100, and 1xx are passed on', async (t) => {
  const { connection, peer } = await startClient(t, { http1: { clock: makeH2Clock() } });
  const open = openExchange(connection, [...POST, 'expect', '100-continue', 'content-length', '4']);
  t.is(open.exchange.capacity(), 0);
  const head = await peer.untilText('\r\n\r\n');
  const writing = open.body.write('body').then(() => {
    open.exchange.end();
  });
  peer.send('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n');
  await writing;
  t.is(await peer.untilText('body'), `${head}body`);
  t.deepEqual(open.told.informationals, [
    [':status', '103', 'link', '</a>'],
    [':status', '100'],
  ]);
  peer.send(OK);
  t.is(await ended(open), 'ok');
});

test('a body waits for 100 no longer than a while', async (t) => {
  const clock = makeH2Clock();
  const { connection, peer } = await startClient(t, { http1: { clock } });
  const open = openExchange(connection, [...POST, 'expect', '100-continue', 'content-length', '4']);
  await peer.untilText('\r\n\r\n');
  const writing = open.body.write('body');
  clock.advance(1000);
  await writing;
  await peer.untilText('body');
  t.pass();
});

test('a final answer in the place of 100 ends the exchange, without the body', async (t) => {
  const { connection, peer } = await startClient(t);
  const open = openExchange(connection, [...POST, 'expect', '100-continue', 'content-length', '4']);
  await peer.untilText('\r\n\r\n');
  peer.send('HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n');
  t.is(await ended(open), '');
  t.true(open.exchange.closed);
  t.is(connection.availableExchanges(), 0);
  t.is(await peer.untilEnd(), 'ECONNRESET');
});

test('an answer before the request is whole leaves the connection usable once it is', async (t) => {
  const { connection, peer } = await startClient(t);
  const open = openExchange(connection, [...POST, 'content-length', '4']);
  await peer.untilText('\r\n\r\n');
  peer.send(OK);
  t.is(await ended(open), 'ok');
  t.false(open.exchange.closed);
  t.is(connection.availableExchanges(), 0);
  await open.body.write('body');
  open.exchange.end();
  t.is(connection.availableExchanges(), 1);
  await peer.untilText('body');
});

const UPGRADE = [...GET, ':protocol', 'websocket'];
const SWITCH = 'HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nX-A: 1\r\n\r\n';

test('an upgrade carries bytes both ways once it is granted, and each side ends for itself', async (t) => {
  const { connection, peer, closed } = await startClient(t);
  const open = openExchange(connection, UPGRADE, false);
  const head =
    'GET / HTTP/1.1\r\nhost: a.test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n';
  t.is(await peer.untilText('\r\n\r\n'), head);
  const writing = open.body.write('ping');
  peer.send(`${SWITCH}HTTP/1.1 no`);
  await writing;
  await peer.untilText('ping');
  t.deepEqual(open.told.responses, [[':status', '101', 'x-a', '1']]);
  open.exchange.end();
  t.is(await peer.untilEnd(), 'end');
  peer.send(' HTTP');
  peer.socket.end();
  t.is(await ended(open), 'HTTP/1.1 no HTTP');
  t.is(await closed, undefined);
});

test('an upgrade that is refused is an exchange like others', async (t) => {
  const { connection, peer } = await startClient(t);
  const open = openExchange(connection, UPGRADE, false);
  await peer.untilText('\r\n\r\n');
  peer.send('HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno');
  t.is(await ended(open), 'no');
  t.is(connection.availableExchanges(), 1);
});

test('an upgrade to another protocol than the one asked for is an error', async (t) => {
  const { connection, peer } = await startClient(t);
  const open = openExchange(connection, UPGRADE, false);
  await peer.untilText('\r\n\r\n');
  peer.send(SWITCH.replace('WebSocket', 'other'));
  t.like(await failure(open), { side: 'upstream' });
});

test('an exchange that is reset resets its connection', async (t) => {
  const { connection, peer, closed } = await startClient(t);
  const open = openExchange(connection);
  await peer.untilText(SENT_GET);
  open.exchange.reset();
  open.exchange.reset();
  t.is(await peer.untilEnd(), 'ECONNRESET');
  t.like(await closed, { side: 'local' });
  t.is(open.told.error, undefined);
});

test('a request that cannot be written is refused before anything is sent', async (t) => {
  const { connection, peer } = await startClient(t);
  for (const fields of [
    ['x', 'a\r\nb: c'],
    ['connection', 'x'],
    ['content-length', '1, 1'],
  ])
    t.throws(() => connection.open([...GET, ...fields], true, {}), { code: 'ERR_HTTP1_HEAD' });
  openExchange(connection);
  t.is(await peer.untilText(SENT_GET), SENT_GET);
});

test('a draining connection finishes what is on it, an idle one ends at once', async (t) => {
  const { connection, peer, closed } = await startClient(t);
  const open = openExchange(connection);
  await peer.untilText(SENT_GET);
  connection.drain();
  t.is(connection.availableExchanges(), 0);
  peer.send(OK);
  t.is(await ended(open), 'ok');
  t.is(await closed, undefined);
  const idle = await startClient(t);
  idle.connection.drain();
  t.is(await idle.closed, undefined);
  t.is(await idle.peer.untilEnd(), 'end');
});

test('an idle connection ends by itself after its time, and when the server ends it', async (t) => {
  const clock = makeH2Clock();
  const { peer, closed } = await startClient(t, { http1: { clock, idleTimeoutMs: 100 } });
  clock.advance(100);
  t.is(await closed, undefined);
  t.is(await peer.untilEnd(), 'end');
  const other = await startClient(t);
  other.peer.socket.end();
  t.is(await other.closed, undefined);
  await once(other.peer.socket, 'close');
});
