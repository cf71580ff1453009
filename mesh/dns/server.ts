import type { SocketAddress } from '../../base/address.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import { answerMessage, type AnswerParts } from './answer.ts';
import type { DatagramSocket } from './sockets.ts';
import { MessageStream } from './stream.ts';

/** Queries of one pod that wait for an answer; what comes beyond is dropped, and asked again by its client. */
const MAX_WAITING = 512;
const MAX_STREAMS = 64;
/** RFC 7766 section 6.2.3 leaves it open; istio/ztunnel's limit for TCP is 5 s. */
const STREAM_IDLE_MS = 5_000;

/** The DNS proxy of one pod: it knows its client by the sockets that were made in the pod's namespace. */
export class DnsServer implements Disposable {
  readonly #parts: AnswerParts;
  readonly #sockets: readonly DatagramSocket[];
  readonly #streams = new Set<MessageStream>();
  #waiting = 0;
  #closed = false;

  /** @param sockets bound to the pod's loopback; the server owns them from here on. */
  constructor(parts: AnswerParts, sockets: readonly DatagramSocket[]) {
    this.#parts = parts;
    this.#sockets = sockets;
    for (const socket of sockets) {
      socket.setHandler({
        onMessage: (bytes, from) => {
          void this.#serveDatagram(socket, Buffer.from(bytes), from);
        },
        // ICMP for an answer that nobody waited for any more; the socket lives on.
        onError: () => undefined,
      });
    }
  }

  /** Serves a connection that a client opened; the server owns it from here on. */
  serveStream(stream: ByteStream): void {
    if (this.#closed || this.#streams.size >= MAX_STREAMS) {
      stream.reset();
      return;
    }
    let waiting = 0;
    let ended = false;
    const close = (): void => {
      clearTimeout(idle);
      this.#streams.delete(messages);
      messages.close();
    };
    const abort = (): void => {
      clearTimeout(idle);
      this.#streams.delete(messages);
      messages.abort();
    };
    const idle = setTimeout(() => {
      if (waiting > 0) idle.refresh();
      else abort();
    }, STREAM_IDLE_MS);
    idle.unref();
    const messages = new MessageStream(stream, {
      onMessage: (message) => {
        if (this.#waiting >= MAX_WAITING) {
          abort();
          return;
        }
        idle.refresh();
        waiting++;
        void this.#answer(message, 'tcp').then((answer) => {
          waiting--;
          if (answer !== undefined) messages.send(answer);
          if (ended && waiting === 0) close();
        });
      },
      onClose: () => {
        // A client may end its direction and still wait for what it asked.
        ended = true;
        if (waiting === 0) close();
      },
    });
    this.#streams.add(messages);
  }

  /** Closes the sockets and the connections. Idempotent. */
  [Symbol.dispose](): void {
    this.#closed = true;
    for (const socket of this.#sockets) socket.close();
    for (const stream of this.#streams) stream.abort();
    this.#streams.clear();
  }

  /** Never rejects. */
  async #serveDatagram(socket: DatagramSocket, bytes: Buffer, from: SocketAddress): Promise<void> {
    if (this.#waiting >= MAX_WAITING) return;
    const answer = await this.#answer(bytes, 'udp');
    if (answer !== undefined && !this.#closed) socket.send(answer, from);
  }

  async #answer(message: Buffer, transport: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    this.#waiting++;
    try {
      return await answerMessage(this.#parts, message, transport);
    } finally {
      this.#waiting--;
    }
  }
}
