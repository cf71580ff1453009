import { EAGAIN } from './native/errno.ts';
import { closeDescriptor, openPipe, spliceBytes } from './native/libc.ts';

/** 256 KiB: as much as is read at once where no pipe can be had, and what one stalled reader may hold of the kernel's memory here. */
const PIPE_BYTES = 256 << 10;
/** Empty pipes that a thread keeps; one is in use only while bytes move, or wait for a slow reader. */
const KEPT_PIPES = 8;

const kept: SplicePipe[] = [];

/** A pipe through which the kernel moves bytes from one socket to another without copying them. One owner at a time. */
export class SplicePipe {
  readonly #input: number;
  readonly #output: number;
  /** Bytes inside. */
  length = 0;

  private constructor(input: number, output: number) {
    this.#input = input;
    this.#output = output;
  }

  /** An empty one; `undefined` where the process has no descriptors left. */
  static take(): SplicePipe | undefined {
    const pipe = kept.pop();
    if (pipe !== undefined) return pipe;
    const ends = openPipe(PIPE_BYTES);
    return typeof ends === 'number' ? undefined : new SplicePipe(ends.input, ends.output);
  }

  /** Gives it back; what is still inside is lost. */
  release(): void {
    if (this.length === 0 && kept.length < KEPT_PIPES) {
      kept.push(this);
      return;
    }
    closeDescriptor(this.#input);
    closeDescriptor(this.#output);
  }

  /** Takes what a socket has: bytes moved, 0 at its end, -EAGAIN when it has none now, or another -errno. */
  fill(socket: number): number {
    const moved = spliceBytes(socket, this.#input, PIPE_BYTES - this.length);
    if (moved > 0) this.length += moved;
    return moved;
  }

  /** Sends what is inside; 0, or the -errno that left some of it. */
  drain(socket: number): number {
    while (this.length > 0) {
      const moved = spliceBytes(this.#output, socket, this.length);
      if (moved <= 0) return moved === 0 ? -EAGAIN : moved;
      this.length -= moved;
    }
    return 0;
  }
}
