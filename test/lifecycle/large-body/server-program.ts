import { createServer, type ServerResponse } from 'node:http';
import { ExpectedBytes } from '../../support/tagged-bytes.ts';

/*
 * Runs in a pod: GET /<bytes> is answered with so many bytes, and POST /<bytes> with what is wrong with those that came,
 * or nothing.
 */
const MOST_AT_ONCE = 1 << 18;

createServer((request, response) => {
  const length = Number(request.url?.slice(1));
  if (request.method === 'GET') {
    response.writeHead(200, { 'content-length': length });
    send(response, new ExpectedBytes({ nonce: 1, length }, 1));
    return;
  }
  const expected = new ExpectedBytes({ nonce: 1, length }, 0);
  let wrong: string | undefined;
  request.on('data', (chunk: Buffer) => {
    wrong ??= expected.check(chunk);
  });
  request.on('end', () => {
    response.end(wrong ?? (expected.done === length ? '' : `${expected.done} of ${length} bytes`));
  });
}).listen(8080);

function send(response: ServerResponse, bytes: ExpectedBytes): void {
  while (bytes.done < bytes.length)
    if (!response.write(bytes.next(MOST_AT_ONCE))) {
      response.once('drain', () => {
        send(response, bytes);
      });
      return;
    }
  response.end();
}
