import ffi from 'node:ffi';
import { systemError } from './errno.ts';
import { allocateShared, type SharedBytes } from './memory.ts';

const library = ffi.dlopen(null, {
  uv_version_string: { return: 'pointer', arguments: [] },
  uv_handle_size: { return: 'u64', arguments: ['i32'] },
  uv_poll_init: { return: 'i32', arguments: ['pointer', 'pointer', 'i32'] },
  uv_poll_start: { return: 'i32', arguments: ['pointer', 'i32', 'pointer'] },
  uv_poll_stop: { return: 'i32', arguments: ['pointer'] },
  uv_close: { return: 'void', arguments: ['pointer', 'pointer'] },
  uv_ref: { return: 'void', arguments: ['pointer'] },
  uv_unref: { return: 'void', arguments: ['pointer'] },
});
const c = library.functions;

const UV_POLL_TYPE = 8;
const UV_READABLE = 1;
/** As read on libuv 1.52 (x86-64): size of uv_poll_t, offset of its flags, what they are once started. */
const POLL_HANDLE_BYTES = 160;
const FLAGS_OFFSET = 88;
const FLAGS_STARTED = 0xc;
const UV_HANDLE_INTERNAL = 0x10;

/** What self-check.ts compares. */
export function libuvFacts(): Readonly<{ version: string; pollHandleBytes: number }> {
  return {
    version: ffi.toString(c.uv_version_string()) ?? '',
    pollHandleBytes: Number(c.uv_handle_size(UV_POLL_TYPE)),
  };
}

/**
 * Calls back in the loop's poll phase while `fd` is readable. What native code knows of it is rooted here, because a
 * callback that was collected is a crash.
 */
const live = new Set<LoopPoll>();

export class LoopPoll {
  readonly #handle: SharedBytes = allocateShared(POLL_HANDLE_BYTES);
  readonly #callback: bigint;
  #open = true;

  /**
   * @param onReadable must not throw: what leaves a native callback ends the process.
   * @throws {MeshError} the system's error where libuv refuses the descriptor.
   * @throws {Error} where its handle is laid out differently from what we know.
   */
  constructor(fd: number, onReadable: () => void) {
    this.#callback = library.lib.registerCallback(
      { return: 'void', arguments: ['pointer', 'i32', 'i32'] },
      () => {
        onReadable();
      },
    );
    const loop = ffi.getCurrentEventLoop();
    const refused = c.uv_poll_init(loop, this.#handle.address, fd);
    if (refused !== 0) {
      library.lib.unregisterCallback(this.#callback);
      throw systemError(-refused, `poll descriptor ${fd}`);
    }
    live.add(this); // the loop knows the handle from here on
    const begun = c.uv_poll_start(this.#handle.address, UV_READABLE, this.#callback) === 0;
    const flags = this.#handle.buffer.readUInt32LE(FLAGS_OFFSET);
    if (!begun || flags !== FLAGS_STARTED) {
      this.close();
      throw new Error(`Cannot poll descriptor ${fd}: libuv handle flags are ${flags}`);
    }
    // An open handle in a worker aborts the process when the worker ends; libuv leaves its own (internal) ones alone.
    this.#handle.buffer.writeUInt32LE(flags | UV_HANDLE_INTERNAL, FLAGS_OFFSET);
  }

  /** Lets the process end, or keeps it, while only this is open. */
  keepAlive(keep: boolean): void {
    if (!this.#open) return;
    if (keep) c.uv_ref(this.#handle.address);
    else c.uv_unref(this.#handle.address);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    c.uv_poll_stop(this.#handle.address);
    c.uv_close(this.#handle.address, 0n);
    // libuv lets go of the memory after the loop has gone round once more; two rounds are enough either way.
    setImmediate(() => {
      setImmediate(() => {
        library.lib.unregisterCallback(this.#callback);
        live.delete(this);
      });
    });
  }
}
