import { SplicePipe } from './splice-pipe.ts';

/** Input that comes in pieces of at least so much is moved inside the kernel, where that can be; below, copying is cheaper. */
const SPLICED_BYTES = 64 << 10;

/** A socket that bytes can go to inside the kernel. */
export interface PipeTarget {
  /** Takes what it can of the pipe now; whether that was all. */
  drain(pipe: SplicePipe): boolean;
}

/** The input of a socket that goes on to another one inside the kernel. */
export class SplicedInput {
  /** Holds what has left the socket and its target has not taken. */
  #pipe: SplicePipe | undefined;
  /** More input is to go this way. */
  active = true;

  /** Whether the target has not taken all of it. */
  get waits(): boolean {
    return this.#pipe !== undefined;
  }

  /**
   * Takes what the socket has, while nothing waits.
   *
   * @returns bytes, or as SplicePipe.fill(); `undefined` where no pipe can be had.
   */
  fill(socket: number): number | undefined {
    this.#pipe = SplicePipe.take();
    const moved = this.#pipe?.fill(socket);
    this.active = moved !== undefined && moved >= SPLICED_BYTES;
    return moved;
  }

  /** Hands on what waits; true when that was all. */
  deliver(target: PipeTarget | undefined): boolean {
    const pipe = this.#pipe;
    if (pipe === undefined) return true;
    if (pipe.length > 0 && target?.drain(pipe) !== true) return false;
    this.drop();
    return true;
  }

  /** What waits is lost. */
  drop(): void {
    this.#pipe?.release();
    this.#pipe = undefined;
  }
}
