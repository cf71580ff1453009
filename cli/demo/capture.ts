import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { MeshError } from '../../base/errors.ts';
import { parseSegment, type Segment } from './frames.ts';

/** Frames that were sent before the capture is ended, but wait in its socket, arrive within this time. */
const DRAIN_MS = 150;
const MAX_CAPTURE_BYTES = 64 << 20;

/** What one step put on the wire between the nodes. */
export class Capture {
  readonly #program: ChildProcessByStdio<null, Readable, Readable>;
  readonly #frames: Buffer[] = [];
  #rest = Buffer.alloc(0);
  #bytes = 0;
  #error = '';

  private constructor(program: ChildProcessByStdio<null, Readable, Readable>) {
    this.#program = program;
    program.stderr.on('data', (chunk: Buffer) => (this.#error += chunk.toString()));
  }

  /**
   * Listens on the sandbox's bridge; resolves when every frame from now on is seen.
   *
   * @param insidePid a process whose namespaces are the sandbox's.
   * @throws {MeshError} ERR_CAPTURE when the capture cannot be started.
   */
  static async start(insidePid: number): Promise<Capture> {
    const pid = String(insidePid);
    const user =
      readlinkSync(`/proc/${pid}/ns/user`) === readlinkSync('/proc/self/ns/user')
        ? []
        : ['--user', '--preserve-credentials'];
    const main = join(import.meta.dirname, 'capture-program.ts');
    const node = [process.execPath, '--disable-warning=ExperimentalWarning', main];
    const program = spawn('nsenter', ['--target', pid, ...user, '--net', ...node], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const capture = new Capture(program);
    program.stdout.on('data', (chunk: Buffer) => {
      capture.#take(chunk);
    });
    const failed = once(program, 'close').then(() => {
      throw new MeshError(
        'ERR_CAPTURE',
        'local',
        `Cannot capture what is on the bridge: ${capture.#error}`,
      );
    });
    failed.catch(() => undefined); // after the start, its end is asked for
    // An empty frame says that the socket is open.
    await Promise.race([once(program.stdout, 'data'), failed]);
    return capture;
  }

  #take(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#bytes > MAX_CAPTURE_BYTES) return; // the demo sends a few kilobytes
    let bytes = Buffer.concat([this.#rest, chunk]);
    while (bytes.length >= 4) {
      const length = bytes.readUInt32BE(0);
      if (bytes.length < 4 + length) break;
      if (length > 0) this.#frames.push(bytes.subarray(4, 4 + length));
      bytes = bytes.subarray(4 + length);
    }
    this.#rest = bytes;
  }

  /** Ends it, and answers with what it saw. */
  async stop(): Promise<Seen> {
    await delay(DRAIN_MS);
    const closed = once(this.#program, 'close');
    this.#program.kill('SIGTERM');
    await closed;
    const segments = this.#frames.flatMap((frame) => parseSegment(frame) ?? []);
    return { frames: this.#frames, segments };
  }
}

export type Seen = Readonly<{ frames: readonly Buffer[]; segments: readonly Segment[] }>;
