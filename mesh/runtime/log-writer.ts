import { fstatSync, writeSync } from 'node:fs';
import { performance } from 'node:perf_hooks'; // the global of that name is a getter
import { errorCode } from '../../base/errors.ts';

/** Takes whole lines; never throws. */
export interface LineWriter {
  /**
   * Never waits for a reader.
   *
   * @param when `soon`: it may wait some milliseconds for others, which is for lines that are many. `now`: it does so only
   *   where one before it did not, some milliseconds ago, so that a flood of errors takes no write for each. Lines keep
   *   their order.
   */
  write(line: string, when?: 'now' | 'soon'): void;
  /** Writes what is waiting; waits up to a second for a slow reader, so it is for the end of a thread. */
  flush(): void;
}

/** As istio/ztunnel's bounded queue of 10,000 lines. */
const MAX_WAITING_LINES = 10_000;
const MAX_WAITING_BYTES = 4 * 1024 * 1024;
/** A write of at most PIPE_BUF bytes to a pipe is atomic (pipe(7)): lines of several threads never mix. */
const PIPE_BUF_BYTES = 4096;
const FILE_WRITE_BYTES = 64 * 1024;
/** How soon a descriptor that was full is tried again. */
const RETRY_MS = 20;
/**
 * How long a line may wait for others. A write of its own for each costs a thread that is woken for each request a round of
 * Node's loop, and more system calls than the request itself. Envoy keeps lines for up to a second (file_flush_interval).
 */
const SOON_MS = 20;
const FLUSH_TRIES = 1000 / RETRY_MS;

/**
 * A writer to a file descriptor that every thread may have for itself: lines of one turn go out together in few
 * system calls, straight from the thread, not by way of the main one. With a reader that is too slow the newest
 * lines are dropped and counted, and `onDropped` is told once there is room again.
 *
 * @param options.now milliseconds, from anywhere, never going back.
 */
export function openLineWriter(
  fd: number,
  options: Readonly<{ onDropped?: (lines: number) => void; now?: () => number }> = {},
): LineWriter {
  const { now = () => performance.now() } = options;
  const chunkBytes = isPipe(fd) ? PIPE_BUF_BYTES : FILE_WRITE_BYTES;
  let waiting: Buffer[] = [];
  let waitingBytes = 0;
  let dropped = 0;
  let scheduled = false;
  let soon: NodeJS.Timeout | undefined;
  let full = false;
  /** When a line was last written because it said `now`. */
  let urgentMs = Number.NEGATIVE_INFINITY;

  const schedule = (): void => {
    if (scheduled) return;
    scheduled = true;
    const run = (): void => {
      scheduled = false;
      writeWaiting();
    };
    // An immediate, not a microtask: also from a native callback it runs at the end of the loop's turn.
    if (full) setTimeout(run, RETRY_MS).unref();
    else setImmediate(run);
  };

  const scheduleSoon = (): void => {
    if (waitingBytes >= FILE_WRITE_BYTES) schedule();
    if (scheduled) return;
    soon ??= setTimeout(() => {
      soon = undefined;
      if (!scheduled) writeWaiting();
    }, SOON_MS).unref();
  };

  /** @returns whether there was room. */
  const add = (line: string): boolean => {
    const bytes = Buffer.from(line);
    const room = waitingBytes + bytes.length <= MAX_WAITING_BYTES;
    if (!room || waiting.length >= MAX_WAITING_LINES) {
      dropped++;
      return false;
    }
    waiting.push(bytes);
    waitingBytes += bytes.length;
    return true;
  };

  const writeWaiting = (): void => {
    let sent = 0;
    full = false;
    while (sent < waiting.length && !full) {
      const { bytes, lines } = joinLines(waiting, sent, chunkBytes);
      const written = tryWrite(fd, bytes);
      full = written < bytes.length;
      if (written === 0) break;
      waitingBytes -= written;
      sent += lines;
      // Only a regular file that ran full, or a line longer than a chunk, is ever cut; its rest goes first.
      if (full) waiting[--sent] = bytes.subarray(written);
    }
    waiting = waiting.slice(sent);
    if (full) schedule();
    else reportDropped();
  };

  const reportDropped = (): void => {
    if (dropped === 0) return;
    const lines = dropped;
    dropped = 0;
    options.onDropped?.(lines);
  };

  return {
    write(line, when = 'now') {
      if (!add(line)) return;
      const nowMs = now();
      if (when === 'soon' || nowMs - urgentMs < SOON_MS) {
        scheduleSoon();
        if (when === 'now') soon?.ref(); // the process does not end before
        return;
      }
      urgentMs = nowMs;
      schedule();
    },
    flush() {
      for (let tries = 0; tries < FLUSH_TRIES; tries++) {
        writeWaiting();
        if (waiting.length === 0) return;
        Atomics.wait(SLEEP, 0, 0, RETRY_MS);
      }
    },
  };
}

/** Nobody wakes it: Atomics.wait() on it is the one way to sleep without a loop that burns the processor. */
const SLEEP = new Int32Array(new SharedArrayBuffer(4));

function joinLines(
  lines: readonly Buffer[],
  from: number,
  limitBytes: number,
): { bytes: Buffer; lines: number } {
  const first = lines[from] ?? Buffer.alloc(0);
  let total = first.length;
  let end = from + 1;
  for (let next = lines[end]; next !== undefined; next = lines[end]) {
    if (total + next.length > limitBytes) break;
    total += next.length;
    end++;
  }
  const bytes = end === from + 1 ? first : Buffer.concat(lines.slice(from, end), total);
  return { bytes, lines: end - from };
}

/** How many bytes were taken; a descriptor that is broken for good takes, and loses, everything. */
function tryWrite(fd: number, bytes: Buffer): number {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    const code = errorCode(error);
    // Full disks and slow readers pass; a closed reader (EPIPE) does not, and must not stop the program.
    return code === 'EAGAIN' || code === 'ENOSPC' || code === 'EINTR' ? 0 : bytes.length;
  }
}

function isPipe(fd: number): boolean {
  try {
    const stat = fstatSync(fd);
    return stat.isFIFO() || stat.isSocket();
  } catch {
    return false;
  }
}
