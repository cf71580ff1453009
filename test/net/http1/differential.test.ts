import test from 'ava';
import fc from 'fast-check';
import { type ByteSink, type ByteStream, HEADROOM } from '../../../net/byte-stream.ts';
import type { HeaderList } from '../../../net/h2/headers.ts';
import type { ServerExchange } from '../../../net/http/exchange.ts';
import { Http1ServerConnection } from '../../../net/http1/server-connection.ts';
import { shared } from '../../support/collect.ts';

/** A transport in memory, fed by hand: what a connection makes of bytes then depends on nothing else. */
class MemoryStream implements ByteStream {
  sink: ByteSink | undefined;
  readonly closed = false;
  bytesRead = 0;
  bytesWritten = 0;
  output = '';
  end_ = '';
  /** Given, and not taken. */
  waiting = '';

  setSink(sink: ByteSink): void {
    this.sink = sink;
  }

  resume(): void {
    // Waiting bytes are offered again with the next piece.
  }

  capacity(): number {
    return 1 << 20;
  }

  write({ buffer }: { buffer: Buffer }, offset: number, length: number): number {
    this.output += buffer.toString('latin1', offset, offset + length);
    this.bytesWritten += length;
    return length;
  }

  end(): void {
    this.end_ ||= 'end';
  }

  reset(): void {
    this.end_ ||= 'reset';
  }

  feed(piece: string): void {
    this.waiting += piece;
    for (;;) {
      if (this.waiting === '' || (this.sink?.capacity() ?? 0) <= 0) return;
      const { bytes, length } = shared(Buffer.from(this.waiting, 'latin1'));
      const taken = this.sink?.onData(bytes, HEADROOM, length) ?? 0;
      if (taken === 0) return;
      this.bytesRead += taken;
      this.waiting = this.waiting.slice(taken);
    }
  }
}

type Seen = { list: HeaderList; body: string; trailers: HeaderList; end: string };

/** What a server makes of the pieces: requests, what it answers, and how it ends. */
async function serve(pieces: readonly string[]): Promise<unknown> {
  const stream = new MemoryStream();
  const seen: Seen[] = [];
  let closed = '';
  const connection = new Http1ServerConnection(
    stream,
    {},
    {
      onRequest(exchange: ServerExchange, list) {
        const one: Seen = { list, body: '', trailers: [], end: '' };
        seen.push(one);
        exchange.setHandler({ onTrailers: (trailers) => (one.trailers = trailers) });
        exchange.setSink({
          capacity: () => 1 << 20,
          onData({ buffer }, offset, length) {
            one.body += buffer.toString('latin1', offset, offset + length);
            return length;
          },
          onEnd() {
            one.end = 'end';
            exchange.respond([':status', '200'], { endStream: true });
          },
          onError: () => (one.end = 'error'),
          onWritable: () => undefined,
        });
      },
      onClose: (error) => (closed = error?.message ?? 'in order'),
    },
  );
  for (const piece of pieces) stream.feed(piece);
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  const result = { seen, output: stream.output, end: stream.end_, closed };
  connection.close();
  return result;
}

const HEAD = 'POST /p HTTP/1.1\r\nHost: a\r\n';
const requests = fc.constantFrom(
  'GET / HTTP/1.1\r\nHost: a\r\nX-Some:  value \r\n\r\n',
  `${HEAD}Content-Length: 5\r\n\r\nhello`,
  `${HEAD}Transfer-Encoding: chunked\r\n\r\n5;a="b"\r\nhello\r\n1\r\n!\r\n0\r\nX-T: 1\r\nHost: no\r\n\r\n`,
  `${HEAD}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  `${HEAD}Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello`,
  '\r\nHEAD /h HTTP/1.1\r\nHost: a\r\n\r\n',
  'GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
  // What must be refused.
  `${HEAD}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n`,
  `${HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\nhelloXX`,
  `${HEAD}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n`,
  'GET / HTTP/1.0\r\n\r\n',
  'GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n',
);

/** Single bytes of it replaced. */
const mutated = fc
  .tuple(
    fc.array(requests, { minLength: 1, maxLength: 5 }),
    fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 2 }),
  )
  .map(([parts, changes]) => {
    const bytes = Buffer.from(parts.join(''), 'latin1');
    for (const [at, value] of changes) bytes[at % bytes.length] = value;
    return bytes.toString('latin1');
  });

function cutAt(text: string, cuts: readonly number[]): string[] {
  const places = [...new Set(cuts.map((cut) => cut % text.length))].sort((a, b) => a - b);
  return [...places, text.length].map((place, index) => text.slice(places[index - 1] ?? 0, place));
}

test('a server makes the same of bytes that come in pieces as of those that come whole', async (t) => {
  await fc.assert(
    fc.asyncProperty(mutated, fc.array(fc.nat(), { maxLength: 20 }), async (text, cuts) => {
      const whole = withoutContinue(await serve([text]));
      t.deepEqual(withoutContinue(await serve(cutAt(text, cuts))), whole);
      t.deepEqual(withoutContinue(await serve(text.split(''))), whole);
    }),
    { numRuns: 300 },
  );
});

/** Whether 100 is sent depends on whether the body was there already, and may. */
function withoutContinue(result: unknown): string {
  return JSON.stringify(result).replaceAll('HTTP/1.1 100 Continue\\r\\n\\r\\n', '');
}
