import test from 'ava';
import type { Http1Fault } from '../../../net/http1/errors.ts';
import { cut, readResponses } from '../../support/http1-messages.ts';

const OK = 'HTTP/1.1 200 OK\r\n';
const CL = 'Content-Length: 5\r\n';
const TE = 'Transfer-Encoding: chunked\r\n';

const responseRefused = test.macro({
  exec(t, sent: string, fault: Http1Fault, method?: string) {
    for (const size of [1, sent.length]) {
      const reading = readResponses(cut(Buffer.from(sent, 'latin1'), size), method);
      t.is(reading.fault, fault);
    }
  },
  title: (given = '') => `S14: ${given} is refused`,
});

test(
  'a response with length and coding',
  responseRefused,
  `${OK}${CL}${TE}\r\n`,
  'transfer-encoding-with-length',
);
test('a 204 with a body', responseRefused, `HTTP/1.1 204 x\r\n${CL}\r\n`, 'body-where-none-can-be');
test('a 103 with a body', responseRefused, `HTTP/1.1 103 x\r\n${TE}\r\n`, 'body-where-none-can-be');
test(
  'a tunnel with a body',
  responseRefused,
  `${OK}${CL}\r\n`,
  'body-where-none-can-be',
  'CONNECT',
);
test('a 101 without a protocol', responseRefused, 'HTTP/1.1 101 x\r\n\r\n', 'upgrade-unasked');
test(
  'a coded response of HTTP/1.0',
  responseRefused,
  `HTTP/1.0 200 x\r\n${TE}\r\n`,
  'transfer-encoding-in-1.0',
);
test('a status of two digits', responseRefused, 'HTTP/1.1 20 x\r\n\r\n', 'status-line');
test('a status of 600', responseRefused, 'HTTP/1.1 600 x\r\n\r\n', 'status-line');
test('a status line without a space', responseRefused, 'HTTP/1.1 200\r\n\r\n', 'status-line');
test('HTTP/2.0 in text', responseRefused, 'HTTP/2.0 200 x\r\n\r\n', 'version-not-supported');
test('an answer that is no HTTP', responseRefused, 'SSH-2.0-x\r\n\r\n', 'status-line');
test('an empty line before a response', responseRefused, `\r\n${OK}\r\n`, 'status-line');

test('ResponseParser tells where each body ends', (t) => {
  const body = (head: string, method = 'GET'): unknown[] => {
    const { messages } = readResponses([Buffer.from(`${head}\r\n`)], method);
    return [messages[0]?.head.body, messages[0]?.head.persistent];
  };
  t.deepEqual(body(`${OK}${CL}`), [5, true]);
  t.deepEqual(body(`${OK}${TE}`), [-1, true]);
  t.deepEqual(body(OK), [-2, false]);
  t.deepEqual(body(`${OK}${CL}`, 'HEAD'), [0, true]);
  t.deepEqual(body(`HTTP/1.1 304 x\r\n${CL}`), [0, true]);
  t.deepEqual(body('HTTP/1.1 204 \r\nContent-Length: 0\r\n'), [0, true]);
  t.deepEqual(body(OK, 'CONNECT'), [0, true]);
  t.deepEqual(body(`${OK}${CL}Connection: close\r\n`), [5, false]);
  t.deepEqual(body(`HTTP/1.0 200 OK\r\n${CL}`), [5, false]);
});
