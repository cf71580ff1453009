import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';

const BLOCK_BYTES = 1 << 20;

/** A socket that reads only what it is asked for, so that a reader can be as slow as a test wants. */
export class HeldSocket {
  readonly socket: Socket;
  readonly #events = new EventTarget();
  readonly #chunks: Buffer[] = [];
  /** How it ended: `end`, or the code of its error. */
  ended: string | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.pause();
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#change();
    });
    socket.on('end', () => {
      this.#end('end');
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#end(error.code ?? error.message);
    });
    socket.on('close', () => {
      this.#end('close');
    });
  }

  get local(): string {
    return textOf(this.socket.localAddress, this.socket.localPort);
  }

  get remote(): string {
    return textOf(this.socket.remoteAddress, this.socket.remotePort);
  }

  /** Resolves when the system has taken it. */
  async write(bytes: Uint8Array): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    this.socket.write(bytes, (error) => {
      if (error === undefined || error === null) resolve(undefined);
      else reject(error);
    });
    await promise;
  }

  /** That many bytes, or what there is up to the end. */
  async read(bytes: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    await this.readInto(bytes, (chunk) => chunks.push(chunk));
    return Buffer.concat(chunks);
  }

  /** Hands on that many bytes, or what there is up to the end; what comes behind them stays. */
  async readInto(bytes: number, take: (chunk: Buffer) => void): Promise<number> {
    let left = bytes;
    let taken = 0;
    for (;;) {
      while (left > 0) {
        const chunk = this.#chunks.shift();
        if (chunk === undefined) break;
        const part = chunk.length > left ? chunk.subarray(0, left) : chunk;
        if (part.length < chunk.length) this.#chunks.unshift(chunk.subarray(part.length));
        taken += part.length;
        left -= part.length;
        take(part);
      }
      if (left === 0 || this.ended !== undefined) break;
      this.socket.resume();
      await once(this.#events, 'change');
    }
    this.socket.pause();
    return taken;
  }

  #end(how: string): void {
    // An error after the end in order (a reset of what is sent after it) is what the test wants to know.
    if (this.ended === undefined || (this.ended === 'end' && how !== 'close')) this.ended = how;
    this.#change();
  }

  #change(): void {
    this.#events.dispatchEvent(new Event('change'));
  }
}

/** Random bytes in blocks of a MiB, each with its number in front, so that no two are equal. */
export function* numberedBlocks(bytes: number): Generator<Buffer> {
  const pattern = randomBytes(BLOCK_BYTES);
  for (let at = 0; at < bytes; at += BLOCK_BYTES) {
    pattern.writeBigUInt64BE(BigInt(at), 0);
    yield pattern.subarray(0, Math.min(BLOCK_BYTES, bytes - at));
  }
}

/** `10.0.0.1:80` or `[fd00::1]:80`; an IPv4 address in IPv6 form is shown as the former. */
export function textOf(address = '', port = 0): string {
  const plain = address.replace(/^::ffff:/, '');
  return plain.includes(':') ? `[${plain}]:${port}` : `${plain}:${port}`;
}
