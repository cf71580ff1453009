/**
 * Requests that hide others, through all that a waypoint does with HTTP, to servers that read loosely. A desync is a request
 * that a back end logs and nobody sent: behind each shape a harmless request goes the same way, and must be the next.
 */
import test, { type ExecutionContext } from 'ava';
import { FLAG_END_STREAM } from '../../net/h2/frame.ts';
import { withDeadline } from '../support/deadline.ts';
import { data, headers } from '../support/h2-frames.ts';
import { RawPeer } from '../support/h2-peer.ts';
import { RawSocket } from '../support/http1-peer.ts';
import {
  type BackEnd,
  startApache,
  startHaproxy,
  startNginx,
  startNode,
} from '../support/lenient-back-ends.ts';
import { type PlainWaypoint, servePlainWaypoint } from '../support/plain-waypoint.ts';

const HIDDEN = 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n';
const CHUNKED = 'Transfer-Encoding: chunked\r\n';
const NAMES = ['nginx', 'HAProxy', 'Apache', 'Node'];
/** Far beyond what an answer takes, on a loaded machine too. */
const ANSWER_MS = 15_000;
const START = { nginx: startNginx, HAProxy: startHaproxy, Apache: startApache, Node: startNode };

type Shape = Readonly<{
  what: string;
  /** `/outer` is made another path for each shape. */
  bytes: string;
  /** What the client is answered, in order; the connection ends after a fault. */
  statuses: readonly number[];
  /** What the back end gets of it. */
  logged?: readonly string[];
  /** It goes on while its body comes, so that a fault in the body ends it there: a back end may log it, or not. */
  streamed?: boolean;
}>;

const post = (fields: string, body = HIDDEN): string =>
  `POST /outer HTTP/1.1\r\nHost: a\r\n${fields}\r\n${body}`;
const get = (fields: string, line = 'GET /outer HTTP/1.1'): string =>
  `${line}\r\n${fields}\r\n${HIDDEN}`;
const refused = (what: string, bytes: string, status = 400): Shape => ({
  ...{ what, bytes, statuses: [status] },
});
const broken = (what: string, body: string): Shape => ({
  ...{ what, bytes: post(CHUNKED, body + HIDDEN), statuses: [400], streamed: true },
});
const taken = (what: string, bytes: string, ...logged: readonly string[]): Shape => ({
  ...{ what, bytes, logged, statuses: logged.map(() => 200) },
});

/** So many answers, whatever interim ones come before them. */
function statusesOf(text: string): number[] {
  return Array.from(text.matchAll(/HTTP\/1\.1 ([2-5]\d\d) /g), ([, status]) => Number(status));
}

let count = 0;

async function expectHarmless(t: ExecutionContext, port: number, backEnd: BackEnd): Promise<void> {
  const path = `/harmless-${++count}`;
  const client = await RawSocket.connect(t, port);
  client.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  await withDeadline(
    client.until(({ text, ended }) => text.endsWith('ok') || ended !== undefined),
    ANSWER_MS,
    () => `${backEnd.name} left ${path} without its answer: ${client.text}`,
  );
  t.deepEqual(statusesOf(client.text), [200], `${backEnd.name}: ${client.text}`);
  await withDeadline(
    backEnd.untilLogged(`GET ${path}`),
    ANSWER_MS,
    () => `${backEnd.name} has not told of ${path}: ${backEnd.log.slice(-3).join()}`,
  );
  client.socket.destroy();
}

async function expectNoDesync(
  t: ExecutionContext,
  { port }: PlainWaypoint,
  backEnd: BackEnd,
  shape: Shape,
): Promise<void> {
  const outer = `/outer-${++count}`;
  const before = backEnd.log.length;
  const client = await RawSocket.connect(t, port);
  client.send(shape.bytes.replaceAll('/outer', outer));
  const said = `${backEnd.name}: ${shape.what}`;
  const { statuses, logged = [], streamed = false } = shape;
  const isOver = statuses.some((status) => status >= 400);
  await withDeadline(
    client.until(
      ({ text, ended }) =>
        ended !== undefined || (!isOver && statusesOf(text).length >= statuses.length),
    ),
    ANSWER_MS,
    () => `${said} was left without its end: ${client.text}`,
  );
  await expectHarmless(t, port, backEnd);
  const found = statusesOf(client.text);
  // A back end that does not wait for the body answers before there is a fault.
  if (streamed && found[0] === 200) t.true(isOver && client.ended !== undefined, said);
  else t.deepEqual(found, [...statuses], `${said}: ${client.text}`);
  if (isOver) t.not(client.ended, undefined, said);
  const log = backEnd.log
    .slice(before)
    .filter((line) => !line.includes('/harmless-') && !(streamed && line === `POST ${outer}`));
  t.deepEqual(
    log,
    logged.map((line) => line.replace('/outer', outer)),
    said,
  );
  client.socket.destroy();
}

const shapes = test.macro({
  async exec(t, list: readonly Shape[]) {
    for (const start of Object.values(START)) {
      const backEnd = await start(t);
      const waypoint = servePlainWaypoint(t, backEnd.port);
      await expectHarmless(t, waypoint.port, backEnd);
      for (const shape of list) await expectNoDesync(t, waypoint, backEnd, shape);
      t.deepEqual(waypoint.faults, []);
      t.is(backEnd.log.filter((line) => line.includes('hidden')).length, hiddenOf(list));
    }
  },
  title: (given = '') => `${given}, before ${NAMES.join(', ')}`,
});

function hiddenOf(list: readonly Shape[]): number {
  return list.flatMap(({ logged = [] }) => logged).filter((line) => line.includes('hidden')).length;
}

test.serial('S1: a length beside chunks, and codings in disguise, hide nothing', shapes, [
  refused('CL.TE', post(`Content-Length: 5\r\n${CHUNKED}`, `0\r\n\r\n${HIDDEN}`)),
  refused('TE.CL', post(`${CHUNKED}Content-Length: 5\r\n`, `0\r\n\r\n${HIDDEN}`)),
  refused('TE twice', post(`${CHUNKED}Transfer-Encoding: x\r\n`)),
  refused('chunked twice', post(`${CHUNKED}${CHUNKED}`)),
  ...[
    'xchunked',
    '\x0bchunked',
    'chunked\x0b',
    'chunked, identity',
    '"chunked"',
    ' ',
    'chunke',
  ].map((coding) => refused(JSON.stringify(coding), post(`Transfer-Encoding: ${coding}\r\n`))),
  refused('gzip, chunked', post('Transfer-Encoding: gzip, chunked\r\n'), 501),
  refused('a space before the colon', post('Transfer-Encoding : chunked\r\n')),
  refused('a folded coding', post('Transfer-Encoding:\r\n chunked\r\n')),
  refused('a bare LF', post('X: a\nTransfer-Encoding: chunked\r\n')),
  taken(
    'capitals and a tab, as the grammar has it',
    post('Transfer-Encoding:\tChUnKeD\r\n', `0\r\n\r\n${HIDDEN}`),
    'POST /outer',
    'GET /hidden',
  ),
]);

test.serial('S2: lengths that are not one plain number hide nothing', shapes, [
  ...['+5', '-5', '0x5', '5, 5', '5,6', '5 5', '1_0', '9'.repeat(20), '', '5;a', '1e1'].map(
    (length) => refused(JSON.stringify(length), post(`Content-Length: ${length}\r\n`)),
  ),
  refused('two that differ', post('Content-Length: 0\r\nContent-Length: 35\r\n')),
  refused('two that are the same', post('Content-Length: 5\r\nContent-Length: 5\r\n')),
]);

test.serial('S3: bodies that a server may not wait for hide nothing', shapes, [
  taken(
    'a request as the body of GET',
    `GET /outer HTTP/1.1\r\nHost: a\r\nContent-Length: ${HIDDEN.length}\r\n\r\n${HIDDEN}`,
    'GET /outer',
  ),
  taken(
    'a request as the body of POST',
    post(`Content-Length: ${HIDDEN.length}\r\n`),
    'POST /outer',
  ),
  taken(
    'a request as a chunk',
    post(CHUNKED, `${HIDDEN.length.toString(16)}\r\n${HIDDEN}\r\n0\r\n\r\n`),
    'POST /outer',
  ),
  taken(
    'a body that is asked for first',
    post(`Expect: 100-continue\r\nContent-Length: ${HIDDEN.length}\r\n`),
    'POST /outer',
  ),
  taken('no body at all', post(''), 'POST /outer', 'GET /hidden'),
  refused('an unknown expectation', post(`Expect: y 100-continue\r\nContent-Length: 35\r\n`), 417),
]);

test.serial('S4, M3: lines and fields that servers read in two ways hide nothing', shapes, [
  refused('a bare LF', post('X: a\nContent-Length: 35\r\n')),
  refused('a bare CR', post('X: a\rContent-Length: 35\r\n')),
  refused('a head that ends with LF LF', 'POST /outer HTTP/1.1\nHost: a\n\n' + HIDDEN),
  refused('a folded line', post('X: a\r\n Content-Length: 35\r\n')),
  refused('a folded first line', `POST /outer HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n${HIDDEN}`),
  refused('a space before a colon', post('Content-Length : 35\r\n')),
  refused('a tab before a colon', post('Content-Length\t: 35\r\n')),
  refused('NUL in a value', post('X: a\0b\r\n')),
  refused('NUL in a name', post('X\0: a\r\n')),
  refused('NUL behind a name', post('Content-Length\0: 35\r\n')),
  refused('no colon', post('Content-Length 35\r\n')),
  refused('no name', post(': 35\r\n')),
  refused('a control character in a name', post('Content-Length\x01: 35\r\n')),
  refused('a letter beyond ASCII in a name', post('Content-Length\xa0: 35\r\n')),
  refused('an underscore', post('Content_Length: 35\r\n')),
]);

test.serial('S5: sizes of chunks that are not plain hexadecimal hide nothing', shapes, [
  ...[
    '0x5',
    '1_0',
    '-1',
    '+5',
    ' 5',
    '5 ',
    '5\t',
    '\x0b5',
    'f'.repeat(17),
    'g',
    '',
    '0'.repeat(17),
  ].map((size) => broken(JSON.stringify(size), `${size}\r\nhello\r\n0\r\n\r\n`)),
  broken('a chunk that is longer', '5\r\nhello!\r\n0\r\n\r\n'),
  broken('a chunk that is shorter', '5\r\nhel\r\n0\r\n\r\n'),
  broken('LF behind a size', '5\nhello\r\n0\r\n\r\n'),
  broken('CR behind a size', '5\rhello\r\n0\r\n\r\n'),
  broken('LF behind a chunk', '5\r\nhello\n0\r\n\r\n'),
]);

test.serial('S6: extensions of chunks hide nothing, and do not go on', shapes, [
  broken('LF in one', '5;a\nhello\r\n0\r\n\r\n'),
  broken('CR in one', '5;a\rb\r\nhello\r\n0\r\n\r\n'),
  broken('NUL in one', '5;a\0b\r\nhello\r\n0\r\n\r\n'),
  broken('more than their limit', `5;${'a'.repeat(5000)}\r\nhello\r\n0\r\n\r\n`),
  broken('more than their limit, over many chunks', `1;${'a'.repeat(100)}\r\nx\r\n`.repeat(60)),
  taken(
    'one in order',
    post(CHUNKED, `5;a=b\r\nhello\r\n0;c="d"\r\n\r\n${HIDDEN}`),
    'POST /outer',
    'GET /hidden',
  ),
]);

test.serial('S7: fields in trailers hide nothing', shapes, [
  taken(
    'of routing, framing and identity',
    post(
      CHUNKED,
      `0\r\nHost: b\r\nContent-Length: 35\r\nTransfer-Encoding: x\r\nAuthorization: y\r\n\r\n${HIDDEN}`,
    ),
    'POST /outer',
    'GET /hidden',
  ),
  broken('LF in one', '0\r\nX: a\nY: b\r\n\r\n'),
  broken('a folded one', '0\r\nX: a\r\n b\r\n\r\n'),
  broken('a space before a colon', '0\r\nX : a\r\n\r\n'),
]);

test.serial('S8: hosts that are said twice or in disguise hide nothing', shapes, [
  refused('two', get('Host: a\r\nHost: b\r\n')),
  refused('none', get('')),
  refused('an empty one', get('Host:\r\n')),
  refused('another in the target', get('Host: b\r\n', 'GET http://a/outer HTTP/1.1')),
  ...['a/b', 'u@a', 'a b', 'a:99999', 'a:x', 'a,b', 'a#b', 'a?b', 'a\\b'].map((host) =>
    refused(host, get(`Host: ${host}\r\n`)),
  ),
  taken(
    'the same in the target, which does not go on',
    get('Host: A.:80\r\n', 'GET http://a/outer HTTP/1.1'),
    'GET /outer',
    'GET /hidden',
  ),
]);

test.serial('S9: methods that are none hide nothing', shapes, [
  ...['GET=', 'G\0ET', 'GE\tT', ' GET', 'G(T'].map((method) =>
    refused(JSON.stringify(method.slice(0, 9)), get('Host: a\r\n', `${method} /outer HTTP/1.1`)),
  ),
  refused('8 KiB', get('Host: a\r\n', `${'A'.repeat(8192)} /outer HTTP/1.1`), 501),
  refused('TRACE', get('Host: a\r\n', 'TRACE /outer HTTP/1.1'), 405),
  refused('CONNECT', get('Host: a:80\r\n', 'CONNECT a:80 HTTP/1.1'), 405),
]);

test.serial('S10: first lines of other versions hide nothing', shapes, [
  refused('HTTP/0.9', `GET /outer\r\n\r\n${HIDDEN}`),
  refused('HTTP/1.0', get('Host: a\r\n', 'GET /outer HTTP/1.0'), 426),
  refused('HTTP/1.32', get('Host: a\r\n', 'GET /outer HTTP/1.32')),
  refused('HTTP/2.0 in text', get('Host: a\r\n', 'GET /outer HTTP/2.0'), 505),
  refused('HTTP/0.9 in a version', get('Host: a\r\n', 'GET /outer HTTP/0.9'), 505),
  refused('a name in small letters', get('Host: a\r\n', 'GET /outer http/1.1')),
  refused('two spaces', get('Host: a\r\n', 'GET  /outer HTTP/1.1')),
  refused('a tab', get('Host: a\r\n', 'GET\t/outer HTTP/1.1')),
  refused('a space behind', get('Host: a\r\n', 'GET /outer HTTP/1.1 ')),
  refused('a space in the target', get('Host: a\r\n', 'GET /outer /hidden HTTP/1.1')),
  refused('CR in the target', get('Host: a\r\n', 'GET /outer\rHTTP/1.1')),
]);

test.serial('S11: nothing that is pipelined behind a fault or a refused upgrade is read', shapes, [
  {
    what: 'behind a request that was answered',
    bytes: `GET /outer HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n${HIDDEN}`,
    ...{ statuses: [200, 400], logged: ['GET /outer'] },
  },
  refused('an unknown protocol', get('Host: a\r\nConnection: upgrade\r\nUpgrade: x\r\n'), 403),
]);

test.serial('S13: heads beyond their limits hide nothing', shapes, [
  refused('100 kB of fields', get(`Host: a\r\n${`X: ${'a'.repeat(1000)}\r\n`.repeat(100)}`), 431),
  refused('10,000 fields', get(`Host: a\r\n${'X: a\r\n'.repeat(10_000)}`), 431),
  refused('a target of 1 MB', get('Host: a\r\n', `GET /${'a'.repeat(1 << 20)} HTTP/1.1`), 414),
]);

const E = FLAG_END_STREAM;
/** What HTTP/1.1 would write as another request, or as a body of another length. */
const DOWNGRADES: readonly (readonly [what: string, fields: readonly string[], body?: string])[] = [
  ['a length that is too short', ['content-length', '1'], HIDDEN],
  ['a length of nothing', ['content-length', '0'], HIDDEN],
  ['a length that is too long', ['content-length', '500'], HIDDEN],
  ['two lengths', ['content-length', '35', 'content-length', '0'], HIDDEN],
  ['a coding', ['transfer-encoding', 'chunked'], `0\r\n\r\n${HIDDEN}`],
  ['a coding in a value', ['x', 'a\r\ntransfer-encoding: chunked'], `0\r\n\r\n${HIDDEN}`],
  ['LF in a value', ['x', 'a\ntransfer-encoding: chunked'], `0\r\n\r\n${HIDDEN}`],
  ['CR in a value', ['x', 'a\rtransfer-encoding: chunked'], `0\r\n\r\n${HIDDEN}`],
  ['NUL in a value', ['x', 'a\0b']],
  ['a colon in a name', ['transfer-encoding: chunked\r\nx', 'a'], `0\r\n\r\n${HIDDEN}`],
  ['a space in a name', ['transfer-encoding ', 'chunked'], `0\r\n\r\n${HIDDEN}`],
  ['capitals in a name', ['Transfer-Encoding', 'chunked'], `0\r\n\r\n${HIDDEN}`],
  ['a field of connections', ['connection', 'transfer-encoding']],
  ['a host that differs', ['host', 'b']],
  ['a second path', [':path', '/hidden']],
];
const PSEUDO: readonly (readonly [
  what: string,
  method: string,
  path: string,
  authority: string,
])[] = [
  ['in the method', 'GET /hidden HTTP/1.1\r\nX: a', '/', 'a'],
  ['in the path', 'GET', `/ HTTP/1.1\r\nHost: a\r\n\r\n${HIDDEN}`, 'a'],
  ['in the path, with a space', 'GET', '/ /hidden', 'a'],
  ['in the authority', 'GET', '/', `a\r\n\r\n${HIDDEN}`],
];

test.serial(
  'H19, H20, S3: nothing that comes by HTTP/2 is another request in HTTP/1.1',
  async (t) => {
    for (const start of Object.values(START)) {
      const backEnd = await start(t);
      const { port, faults } = servePlainWaypoint(t, backEnd.port);
      const peer = await RawPeer.connect(port);
      t.teardown(() => peer.socket.destroy());
      await peer.begin();
      let id = 1;
      const refuse = async (
        what: string,
        body: string,
        fields: readonly string[],
      ): Promise<void> => {
        const head = headers(id, body === '' ? E : 0, ...fields);
        peer.send(head, body === '' ? Buffer.alloc(0) : data(id, E, body));
        const answer = await withDeadline(peer.answer(), ANSWER_MS, `${backEnd.name}: ${what}`);
        t.regex(
          answer,
          new RegExp(`^(RST ${id} 1|HEADERS ${id} 400)$`),
          `${backEnd.name}: ${what}`,
        );
        id += 2;
        await expectHarmless(t, port, backEnd);
      };
      const list = (method: string, path: string, authority: string): string[] => [
        ...[':method', method, ':scheme', 'http', ':path', path, ':authority', authority],
      ];
      for (const [what, fields, body = ''] of DOWNGRADES)
        await refuse(what, body, [...list('POST', '/outer', 'a'), ...fields]);
      for (const [what, ...line] of PSEUDO) await refuse(what, '', list(...line));
      // A body that is not as long as was said may be found when its request has gone on.
      t.deepEqual(
        backEnd.log.filter((line) => !line.includes('/harmless-') && line !== 'POST /outer'),
        [],
        backEnd.name,
      );
      t.deepEqual(faults, []);
    }
  },
);
