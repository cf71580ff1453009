import { EventEmitter, once } from 'node:events';
import net from 'node:net';
import type { ExecutionContext } from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { Http2Connection } from '../../net/h2/connection.ts';
import type { Http2ConnectionHandler } from '../../net/h2/connection-handler.ts';
import type { Http2ConnectionError } from '../../net/h2/errors.ts';
import {
  CLIENT_PREFACE,
  DATA,
  FLAG_ACK,
  GOAWAY,
  HEADERS,
  PING,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from '../../net/h2/frame.ts';
import { HpackDecoder } from '../../net/h2/hpack-decoder.ts';
import type { Http2Options } from '../../net/h2/options.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { frame, u32 } from './h2-frames.ts';

export type Frame = Readonly<{ type: number; flags: number; streamId: number; payload: Buffer }>;

/** A peer that sends exactly the bytes that a test says, and reads frames. */
export class RawPeer {
  readonly socket: net.Socket;
  readonly #events = new EventEmitter();
  readonly decoder = new HpackDecoder();
  #input = Buffer.alloc(0);
  #frames: Frame[] = [];
  #prefaceLeft: number;
  ended = false;

  /** @param prefaceLeft bytes that come before the first frame: those of a client's preface. */
  constructor(socket: net.Socket, prefaceLeft = 0) {
    this.socket = socket;
    this.#prefaceLeft = prefaceLeft;
    socket.on('data', (bytes: Buffer) => {
      this.#onData(bytes);
    });
    const end = (): void => {
      this.ended = true;
      this.#events.emit('change');
    };
    socket.on('end', end).on('close', end).on('error', end);
  }

  static async connect(port: number): Promise<RawPeer> {
    const socket = net.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return new RawPeer(socket);
  }

  /** Sends the preface and SETTINGS, acknowledges the server's. */
  async begin(...settings: Buffer[]): Promise<void> {
    this.send(CLIENT_PREFACE, frame(SETTINGS, 0, 0, Buffer.concat(settings)));
    await this.next((f) => f.type === SETTINGS && f.flags === 0);
    this.send(frame(SETTINGS, FLAG_ACK, 0));
    await this.next((f) => f.type === SETTINGS && f.flags === FLAG_ACK);
  }

  send(...bytes: Buffer[]): void {
    this.socket.write(Buffer.concat(bytes));
  }

  /** The next frame that fits, dropping those before it; undefined at the end of the connection. */
  async find(fits: (frame: Frame) => boolean): Promise<Frame | undefined> {
    for (;;) {
      const frames = this.#frames;
      for (let next = frames.shift(); next !== undefined; next = frames.shift())
        if (fits(next)) return next;
      if (this.ended) return undefined;
      await once(this.#events, 'change');
    }
  }

  async next(fits: (frame: Frame) => boolean): Promise<Frame> {
    const found = await this.find(fits);
    if (found === undefined) throw new Error('the connection ended before the frame');
    return found;
  }

  /** The next answer to a fault or to a request, as text: `GOAWAY code`, `RST id code`, `HEADERS id status`. */
  async answer(): Promise<string> {
    const found = await this.find(({ type }) => [GOAWAY, RST_STREAM, HEADERS].includes(type));
    if (found === undefined) return 'end';
    if (found.type === GOAWAY) return `GOAWAY ${found.payload.readUInt32BE(4)}`;
    if (found.type === RST_STREAM) return `RST ${found.streamId} ${found.payload.readUInt32BE(0)}`;
    return `HEADERS ${found.streamId} ${this.decode(found)[1] ?? ''}`;
  }

  /** How the connection ends: `GOAWAY code` of the last that came, or `end` where it was cut without a word. */
  async end(): Promise<string> {
    let last: Frame | undefined;
    for (;;) {
      const found = await this.find(({ type }) => type === GOAWAY);
      if (found === undefined) break;
      last = found;
    }
    return last === undefined ? 'end' : `GOAWAY ${last.payload.readUInt32BE(4)}`;
  }

  async ping(): Promise<void> {
    this.send(frame(PING, 0, 0, u32(7, 7)));
    await this.next((f) => f.type === PING && f.flags === FLAG_ACK);
  }

  /** Collects `length` bytes of DATA. */
  async data(length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let left = length; left > 0; ) {
      const { payload } = await this.next((f) => f.type === DATA);
      parts.push(payload);
      left -= payload.length;
    }
    return Buffer.concat(parts);
  }

  /** Frames that are here already and were not asked for, window updates apart. */
  pending(): Frame[] {
    return this.#frames.filter(({ type }) => type !== WINDOW_UPDATE);
  }

  decode({ payload }: Frame): string[] {
    return this.decoder.decode(payload, 0, payload.length, 1 << 20);
  }

  async untilEnd(): Promise<void> {
    while (!this.ended) await once(this.#events, 'change');
  }

  #onData(bytes: Buffer): void {
    this.#input = Buffer.concat([this.#input, bytes]);
    const preface = Math.min(this.#prefaceLeft, this.#input.length);
    this.#prefaceLeft -= preface;
    this.#input = this.#input.subarray(preface);
    while (this.#input.length >= 9) {
      const end = 9 + this.#input.readUIntBE(0, 3);
      if (this.#input.length < end) break;
      this.#frames.push({
        type: this.#input[3] ?? 0,
        flags: this.#input[4] ?? 0,
        streamId: this.#input.readUInt32BE(5),
        payload: Buffer.from(this.#input.subarray(9, end)),
      });
      this.#input = this.#input.subarray(end);
    }
    this.#events.emit('change');
  }
}

export type H2Server = Readonly<{
  port: number;
  connections: Http2Connection[];
  /** One entry a connection that is over. */
  closed: (Http2ConnectionError | undefined)[];
  untilClosed: (count?: number) => Promise<void>;
}>;

/** Our server on loopback, until the test ends. */
export function serveH2(
  t: ExecutionContext,
  onRequest: NonNullable<Http2ConnectionHandler['onRequest']>,
  options: Http2Options = {},
): H2Server {
  const connections: Http2Connection[] = [];
  const closed: (Http2ConnectionError | undefined)[] = [];
  const events = new EventEmitter();
  const listener = listenTcp(
    { address: { ip: parseIpAddress('127.0.0.1'), port: 0 } },
    (transport) => {
      const onClose = (error?: Http2ConnectionError): void => {
        closed.push(error);
        events.emit('closed');
      };
      connections.push(Http2Connection.server(transport, options, { onRequest, onClose }));
    },
  );
  t.teardown(() => {
    listener.close();
    for (const connection of connections) connection.close();
  });
  const untilClosed = async (count = 1): Promise<void> => {
    while (closed.length < count) await once(events, 'closed');
  };
  return { port: listener.local.port, connections, closed, untilClosed };
}
