import test from 'ava';
import { type ByteSink, type ByteStream, HEADROOM } from '../../../net/byte-stream.ts';
import { Http1ClientConnection } from '../../../net/http1/client-connection.ts';
import { Http1ServerConnection } from '../../../net/http1/server-connection.ts';
import { shared } from '../../support/collect.ts';
import { heapBytes } from '../../support/memory.ts';

/* What waits for an answer is copied by the collector again and again; and there are as many as the server behind is slow. */

/** As many as make what a runtime itself keeps in the meantime, half a megabyte now and then, small beside the limit. */
const WAITING = 1000;
const FIELD_BYTES = 40 << 10;
/** Of objects of an exchange and its connection: a tenth of the head. */
const MAX_KEPT_BYTES = FIELD_BYTES / 10;

/** A transport in memory that takes everything and keeps nothing. */
class Sinkhole implements ByteStream {
  #sink: ByteSink | undefined;
  readonly closed = false;
  readonly bytesRead = 0;
  bytesWritten = 0;

  setSink(sink: ByteSink): void {
    this.#sink = sink;
  }

  resume(): void {
    // It is fed by hand.
  }

  capacity(): number {
    return 1 << 20;
  }

  write(_bytes: unknown, _offset: number, length: number): number {
    this.bytesWritten += length;
    return length;
  }

  end(): void {
    // Nobody is there.
  }

  reset(): void {
    // As above.
  }

  feed(text: string): void {
    const { bytes, length } = shared(text);
    this.#sink?.onData(bytes, HEADROOM, length);
  }
}

test.serial('a server keeps no head of a request that waits for its answer', async (t) => {
  let requests = 0;
  const connections: Http1ServerConnection[] = [];
  const begin = (): void => {
    const transport = new Sinkhole();
    const handler = { onRequest: () => requests++, onClose: () => undefined };
    connections.push(new Http1ServerConnection(transport, {}, handler));
    const value = `${requests}`.padEnd(FIELD_BYTES, 'x');
    transport.feed(`GET / HTTP/1.1\r\nHost: a.test\r\nX-Large: ${value}\r\n\r\n`);
  };
  begin();
  const before = await heapBytes();
  while (connections.length <= WAITING) begin();
  const kept = ((await heapBytes()) - before) / WAITING;
  t.is(requests, WAITING + 1);
  t.true(kept < MAX_KEPT_BYTES, `${kept} bytes of each`);
  for (const connection of connections) connection.close();
});

test.serial(
  'a client keeps no head, neither of what waits for its answer nor of an answer',
  async (t) => {
    let answers = 0;
    const connections: Http1ClientConnection[] = [];
    const handler = { onResponse: () => answers++ };
    const request = (): string[] => {
      const value = `${connections.length}`.padEnd(FIELD_BYTES, 'x');
      return [':method', 'GET', ':authority', 'a.test', ':path', '/', 'x-large', value];
    };
    const begin = (answer: boolean): void => {
      const transport = new Sinkhole();
      const connection = new Http1ClientConnection(transport, {}, { onClose: () => undefined });
      connections.push(connection);
      connection.open(request(), true, handler);
      if (!answer) return;
      const value = `${connections.length}`.padEnd(FIELD_BYTES, 'y');
      transport.feed(`HTTP/1.1 200 OK\r\nX-Large: ${value}\r\nContent-Length: 2\r\n\r\n`);
    };
    begin(true);
    const before = await heapBytes();
    while (connections.length <= WAITING) begin(connections.length % 2 === 0);
    const kept = ((await heapBytes()) - before) / WAITING;
    t.is(answers, 1 + WAITING / 2);
    t.true(kept < MAX_KEPT_BYTES, `${kept} bytes of each`);
    for (const connection of connections) connection.close();
  },
);
