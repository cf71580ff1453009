import { connect, Socket } from 'node:net';
import { resetSocket } from '../../base/reset-socket.ts';
import { HttpClientStream } from './http-stream.ts';
import { ExpectedBytes, LineReader, monotonicMs, type Tag } from './tagged-bytes.ts';

/** One stream of tagged connections from a pod to a server. */
export type LoadTask = Readonly<{
  /** Of the report. */
  name: string;
  host: string;
  port: number;
  target: string;
  /** A connection begins every so often, whatever becomes of those before. */
  periodMs: number;
  /** Every so many-th connection is a slow one, which goes on for SLOW_MS. */
  slowEvery: number;
  /** `refused`: not one byte may come back. */
  expect: 'answer' | 'refused';
  /** Bare bytes, or the body of a request and of its answer. */
  carrier: 'tcp' | 'http';
}>;

/**
 * A connection that is over. Times are of the monotonic clock; `heardMs`: when it last took or gave a byte. `how` is
 * `complete`, the code of a clean error, or `silent`: nothing had come or gone for so long that the client gave it up.
 */
export type Attempt = Readonly<{
  beganMs: number;
  heardMs: number;
  endedMs: number;
  local: string;
  how: string;
}>;

/** What a load has met since it was asked last. */
export type LoadReport = Readonly<{
  began: number;
  open: number;
  attempts: readonly Attempt[];
  wrong: readonly string[];
}>;

/**
 * Where connections hang, more of them prove nothing, and what has piled up is served before what is new. Twice what a load has
 * open when all is well, for the slow ones: those of fifteen loads are sixty connections, of which each passes two to five
 * proxies.
 */
const MAX_OPEN = 4;
/** Of these, so many may have heard nothing for so long: then no more begin, but for a while after a fault. */
const MAX_HANGING = 2;
const HANGING_MS = 300;
const RESUMED_MS = 5_000;
/** How long a client waits for a sign of life: longer than a process is stopped in any fault. */
const PATIENCE_MS = 45_000;
const SLOW_MS = 2_500;
const SLOW_STEP_MS = 50;
const SLOW_STEP_BYTES = 8 << 10;
const MAX_WRITE_BYTES = 64 << 10;
/** Most connections are short, as most are; some fill every buffer on the way. */
const LENGTHS = [0, 1, 300, 1_460, 5_000, 16_384, 40_000, 150_000, 600_000] as const;

export class TaggedLoad {
  readonly #task: LoadTask;
  readonly #source: string;
  readonly #timer: NodeJS.Timeout;
  readonly #open = new Set<OneConnection>();
  #count = 0;
  #began = 0;
  /** Connections of before do not keep new ones from beginning. */
  #countedFromMs = 0;
  #attempts: Attempt[] = [];
  #wrong: string[] = [];

  constructor(source: string, task: LoadTask) {
    this.#source = source;
    this.#task = task;
    this.#timer = setInterval(() => {
      const nowMs = monotonicMs();
      let counted = 0;
      let hanging = 0;
      for (const connection of this.#open) {
        const silentMs = nowMs - connection.heardMs;
        if (silentMs > PATIENCE_MS) connection.giveUp('silent');
        if (connection.beganMs < this.#countedFromMs) continue;
        counted++;
        if (silentMs > HANGING_MS) hanging++;
      }
      const resumed = nowMs - this.#countedFromMs < RESUMED_MS;
      if (counted < MAX_OPEN && (resumed || hanging < MAX_HANGING))
        this.#begin(task.slowEvery > 0 && this.#count++ % task.slowEvery === 0);
    }, task.periodMs);
  }

  /**
   * What they hung from is over: a new one begins at once, whatever is still open, for it may be that the kernel tries those
   * again only in a second.
   */
  resume(): void {
    this.#countedFromMs = monotonicMs();
    this.#begin(false);
  }

  take(): LoadReport {
    const [attempts, wrong, began] = [this.#attempts, this.#wrong, this.#began];
    [this.#attempts, this.#wrong, this.#began] = [[], [], 0];
    return { began, open: this.#open.size, attempts, wrong };
  }

  /** Begins no more; resolves when all are over, the last of them cut off after `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    clearInterval(this.#timer);
    const cut = setTimeout(() => {
      for (const connection of this.#open) connection.giveUp('cut');
    }, graceMs);
    while (this.#open.size > 0) await Promise.race([...this.#open].map(({ over }) => over));
    clearTimeout(cut);
  }

  #begin(slow: boolean): void {
    const { target } = this.#task;
    this.#began++;
    const nonce = Math.floor(Math.random() * 2 ** 31);
    const length = slow
      ? (SLOW_MS / SLOW_STEP_MS) * SLOW_STEP_BYTES
      : (LENGTHS[nonce % LENGTHS.length] ?? 0);
    const tag = { source: this.#source, target, nonce, length };
    const connection = new OneConnection(this.#task, tag, slow);
    this.#open.add(connection);
    void connection.over.then((attempt) => {
      this.#open.delete(connection);
      this.#attempts.push(attempt);
      if (connection.wrong !== undefined)
        this.#wrong.push(`${this.#source}: ${connection.wrong}, ${JSON.stringify(tag)}`);
    });
  }
}

/** One tagged connection, from dialling to its end, checked byte by byte. */
class OneConnection {
  readonly over: Promise<Attempt>;
  /** What must never be. */
  wrong: string | undefined;
  readonly beganMs = monotonicMs();
  heardMs = this.beganMs;
  readonly #socket: Socket | HttpClientStream;
  readonly #tag: Omit<Tag, 'sourceIp'>;
  readonly #expect: LoadTask['expect'];
  readonly #line = new LineReader();
  readonly #answer: ExpectedBytes;
  #answering = false;
  #answered = false;
  #how: string | undefined;

  constructor(
    { host, port, expect, carrier }: LoadTask,
    tag: Omit<Tag, 'sourceIp'>,
    slow: boolean,
  ) {
    this.#tag = tag;
    this.#expect = expect;
    this.#answer = new ExpectedBytes(tag, 1);
    const socket =
      carrier === 'http'
        ? new HttpClientStream(host, port)
        : connect({ host, port, allowHalfOpen: true });
    this.#socket = socket;
    let local = '';
    socket.on('connect', () => {
      local = `${socket.localAddress ?? ''}:${socket.localPort ?? 0}`;
      this.heardMs = monotonicMs();
      socket.write(`${JSON.stringify({ ...tag, sourceIp: socket.localAddress })}\n`);
      const payload = new ExpectedBytes(tag, 0);
      if (slow) this.#trickle(payload);
      else this.#pump(payload);
    });
    socket.on('data', (chunk: Buffer) => {
      this.heardMs = monotonicMs();
      this.#take(chunk);
    });
    socket.on('end', () => {
      const { done, length } = this.#answer;
      // The own direction may still have something to say; the socket closes when both have ended.
      if (this.#answering && done === length) this.#answered = true;
      else if (this.#expect === 'answer') this.#fail(`an end in order after ${done} bytes`);
      else socket.destroy();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.#how ??= error.code ?? error.message;
    });
    this.over = new Promise((resolve) => {
      socket.on('close', () => {
        const how = this.#how ?? (this.#answered ? 'complete' : 'end');
        const { beganMs, heardMs } = this;
        resolve({ beganMs, heardMs, endedMs: monotonicMs(), local, how });
      });
    });
  }

  giveUp(how: string): void {
    this.#how ??= how;
    this.#reset();
  }

  #reset(): void {
    if (this.#socket instanceof Socket) resetSocket(this.#socket);
    else this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    if (this.#answering) {
      this.#check(chunk);
      return;
    }
    if (this.#expect === 'refused') {
      this.#fail('an answer that policy refuses');
      return;
    }
    const first = this.#line.take(chunk);
    if (first === undefined) return;
    const { nonce, target } = this.#tag;
    let said: Partial<Tag & { server: string }> = {};
    try {
      said = JSON.parse(first.line) as Partial<Tag & { server: string }>;
    } catch {
      // Told below: it is nobody's answer.
    }
    if (said.server !== target || said.nonce !== nonce) {
      this.#fail(`an answer of another connection: ${first.line.slice(0, 200)}`);
      return;
    }
    this.#answering = true;
    this.#check(first.rest);
  }

  #check(chunk: Buffer): void {
    const flaw = this.#answer.check(chunk);
    if (flaw !== undefined) this.#fail(flaw);
  }

  #fail(what: string): void {
    this.wrong ??= what;
    this.#how ??= 'wrong';
    this.#reset();
  }

  #pump(payload: ExpectedBytes): void {
    const socket = this.#socket;
    while (payload.done < payload.length && !socket.destroyed)
      if (!socket.write(payload.next(MAX_WRITE_BYTES))) {
        socket.once('drain', () => {
          this.heardMs = monotonicMs();
          this.#pump(payload);
        });
        return;
      }
    socket.end();
  }

  #trickle(payload: ExpectedBytes): void {
    const timer = setInterval(() => {
      if (this.#socket.destroyed) clearInterval(timer);
      else if (payload.done < payload.length) this.#socket.write(payload.next(SLOW_STEP_BYTES));
      else {
        clearInterval(timer);
        this.#socket.end();
      }
    }, SLOW_STEP_MS);
  }
}
