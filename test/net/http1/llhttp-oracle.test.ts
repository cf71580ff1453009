/** Holds our reading of requests against llhttp's, which is in Node: where both accept, they must have read the same. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { findHeader } from '../../../net/h2/headers.ts';
import { CORPUS } from '../../fuzz/engine.ts';
import { readRequests } from '../../support/http1-messages.ts';
import { llhttpRequests } from '../../support/llhttp.ts';

const INPUTS = 200_000;

/** Where llhttp refuses what we accept: its code, with why that is right. An error that is not here fails. */
const WE_ACCEPT: ReadonlyMap<string, string> = new Map([
  ['HPE_INVALID_METHOD', 'it knows a list of methods, we any token in upper case'],
  ['HPE_STRICT in a body', 'it reads the grammar of chunk extensions, which we drop'],
  ['HPE_INVALID_CONTENT_LENGTH in a body', 'as a trailer, which we drop'],
  ['HPE_UNEXPECTED_CONTENT_LENGTH in a body', 'as a trailer, which we drop'],
  ['HPE_INVALID_TRANSFER_ENCODING in a body', 'as a trailer, which we drop'],
]);

/** Where we refuse what llhttp accepts: a stricter rule of ours, with its reason. A fault that is not here fails. */
const WE_REFUSE: ReadonlyMap<string, string> = new Map(
  Object.entries({
    'bare-cr-or-lf': 'it skips any CR and LF between messages, we one empty line',
    'body-where-none-can-be': 'what follows CONNECT is the tunnel',
    'character-in-start-line': 'it knows bytes from 0x80 on in a target, RFC 3986 does not',
    'chunk-size-too-large': 'it counts up to 64 bits, we what a double holds',
    'content-length': 'it counts up to 64 bits, we 15 digits',
    expectation: 'node:http answers 417 behind it',
    host: 'it does not read the value of Host',
    'host-differs': 'it does not compare Host with the target',
    'host-missing': 'node:http answers 400 behind it',
    'host-repeated': 'node:http takes the first one',
    'request-line': 'it skips spaces in front of the target, and knows HTTP/0.9 lines',
    target: 'it knows targets that RFC 9112 does not',
    'transfer-encoding': 'it takes a final chunked after anything',
    'transfer-encoding-in-1.0': 'it lets HTTP/1.0 be chunked',
    'transfer-encoding-repeated': 'it takes several fields, the last chunked',
    'transfer-encoding-unknown': 'it leaves gzip to its user, who may not know it',
    underscore: 'a rule of ours',
    version: 'it skips spaces in front of the target, and then reads on',
    'version-not-supported': 'it knows HTTP/0.9 and HTTP/2.0 in text',
  }),
);

const PIECES = [
  ...['GET ', 'POST ', 'OPTIONS ', 'CONNECT ', 'BREW ', '/', '*', 'http://a.b/', 'a.b:80', '?q'],
  ...[' HTTP/1.1', ' HTTP/1.0', ' HTTP/1.2', '\r\n', '\r\n\r\n', '\n', '\r', ' ', '\t', ':', ','],
  ...['Host: a.b\r\n', 'host: c\r\n', 'Content-Length: 3\r\n', 'Content-Length: 0\r\n'],
  ...['Transfer-Encoding: chunked\r\n', 'Transfer-Encoding: gzip, chunked\r\n', 'X-A: b\r\n'],
  ...['Connection: close\r\n', 'Expect: 100-continue\r\n', 'x_y: z\r\n', 'X: \x80\xff\r\n'],
  ...[
    '3\r\nabc\r\n',
    '0\r\n\r\n',
    '0\r\nT: u\r\n\r\n',
    '1;x=y\r\nz\r\n',
    'abc',
    '0',
    'f',
    '\0',
    '+',
  ],
];

/** Mulberry32: numbers from 0 to 1, the same for one seed. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const seeds = ['http1-request', 'http1-chunked'].flatMap((name) =>
  readdirSync(join(CORPUS, name)).map((file) => {
    const text = readFileSync(join(CORPUS, name, file))
      .subarray(1)
      .toString('latin1');
    return name === 'http1-request'
      ? text
      : `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n${text}`;
  }),
);

/** A connection of the corpus in which up to three places were changed. */
function change(random: () => number): string {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  let text = pick(seeds);
  for (let changes = Math.floor(random() * 4); changes > 0; changes--) {
    const at = Math.floor(random() * (text.length + 1));
    const removed = Math.floor(random() * random() * 12);
    const byte = String.fromCharCode(Math.floor(random() * 256));
    const added = random() < 0.7 ? pick(PIECES) : random() < 0.5 ? byte : '';
    text = text.slice(0, at) + added + text.slice(at + removed);
  }
  return text;
}

/** The class of what differs, '' for nothing. */
function differ(text: string): string {
  const bytes = Buffer.from(text, 'latin1');
  const ours = readRequests([bytes]);
  const theirs = llhttpRequests(bytes);
  const both = Math.min(ours.messages.length, theirs.messages.length);
  for (let index = 0; index < both; index++) {
    const [mine, other] = [ours.messages[index], theirs.messages[index]];
    if (mine === undefined || other === undefined) break;
    const { head } = mine;
    if (head.method !== other.method || head.minor !== other.minor) return 'both: request line';
    if (head.target.form === 'origin' && head.target.path !== other.url) return 'both: target';
    if (head.fields.join('\n') !== other.fields.join('\n')) return 'both: fields';
    // For llhttp whoever asks to upgrade has left HTTP behind the head; we grant none that comes with a body, and read that.
    if (head.upgrade === '' && findHeader(head.fields, 'upgrade') !== undefined) return '';
    const whole = mine.trailers !== undefined;
    if (whole && other.done && mine.body !== other.body) return 'both: body';
    if (whole !== other.done) {
      if (ours.fault === undefined && theirs.error === '') return 'both: end of body';
      break;
    }
    // Behind these llhttp reads nothing, and we would not either.
    if (!head.persistent || head.method === 'CONNECT' || head.upgrade !== '') return '';
  }
  if (ours.fault !== undefined && theirs.error === '') return `we refuse: ${ours.fault}`;
  // Inside a head nothing is accepted yet: most of a head's rules are asked when it is whole.
  const inHead = !ours.complete && ours.messages.every(({ trailers }) => trailers !== undefined);
  if (ours.fault === undefined && theirs.error !== '' && !inHead)
    return `we accept: ${theirs.error}${ours.messages.length === theirs.messages.length ? ' in a body' : ''}`;
  return '';
}

test('llhttp and we read the same requests, but for what is listed', (t) => {
  const seed = Number(process.env['LLHTTP_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
  const random = randomFrom(seed);
  const unlisted = new Map<string, string>();
  const seen = new Map<string, number>();
  for (let input = 0; input < INPUTS; input++) {
    const text = change(random);
    const difference = differ(text);
    seen.set(difference, (seen.get(difference) ?? 0) + 1);
    const [side, what = ''] = difference.split(': ');
    const list = side === 'we accept' ? WE_ACCEPT : side === 'we refuse' ? WE_REFUSE : undefined;
    if (difference !== '' && list?.has(what) !== true) unlisted.set(difference, text);
  }
  t.deepEqual(Object.fromEntries(unlisted), {}, `seed ${seed}`);
  t.true((seen.get('') ?? 0) > INPUTS / 4, 'most inputs are read by both, or by none');
});
