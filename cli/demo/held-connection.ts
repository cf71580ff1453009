import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { runExec } from '../verbs/exec.ts';

/** No answer on an open connection within this time means that it does not work. */
const ECHO_TIMEOUT_MS = 5_000;

/** A connection that stays open inside a pod, to a server that sends back what it is sent. */
export class HeldConnection implements Disposable {
  readonly #socket: Socket;
  readonly #encode: (text: string) => Uint8Array;
  readonly #lines = new EventTarget();
  #received = '';
  #error = '';
  /** How it ended, such as `ECONNRESET`; undefined while it is open. */
  ended: string | undefined;
  readonly #end: Promise<string>;

  constructor(socket: Socket, encode: (text: string) => Uint8Array) {
    this.#socket = socket;
    this.#encode = encode;
    this.#end = this.#run();
  }

  async #run(): Promise<string> {
    // An input that never ends keeps the connection open; say() writes to the socket itself.
    const terminal = {
      out: (chunk: string | Uint8Array) => {
        this.#received += Buffer.from(chunk).toString();
        this.#lines.dispatchEvent(new Event('received'));
      },
      note: (chunk: string | Uint8Array) => {
        this.#error += Buffer.from(chunk).toString();
      },
    };
    let how: string;
    try {
      const code = await runExec(this.#socket, terminal, 'keep-open');
      how = this.#error.trim() || `exit code ${code}`;
    } catch (error) {
      how = String(error);
    }
    this.ended = how;
    this.#lines.dispatchEvent(new Event('received'));
    return how;
  }

  /** Sends a line and waits for it to come back. */
  async say(line: string): Promise<boolean> {
    if (this.ended !== undefined) return false;
    this.#socket.write(this.#encode(`${line}\n`));
    const signal = AbortSignal.timeout(ECHO_TIMEOUT_MS);
    const isBack = (): boolean => this.#received.includes(`${line}\n`);
    const isOver = (): boolean => this.ended !== undefined || signal.aborted;
    while (!isBack() && !isOver())
      await once(this.#lines, 'received', { signal }).catch(() => undefined);
    return isBack();
  }

  /** How it ended; `undefined` when it is still open after the time. */
  async end(timeoutMs: number): Promise<string | undefined> {
    return Promise.race([this.#end, delay(timeoutMs, undefined, { ref: false })]);
  }

  /** Ends its input, with which the program in the pod ends it. */
  [Symbol.dispose](): void {
    if (this.ended === undefined) this.#socket.end(this.#encode(''));
  }
}
