import ffi from 'node:ffi';
import { openLibrary } from './library.ts';
import { viewNative } from './memory.ts';

const library = openLibrary({
  calloc: { return: 'pointer', arguments: ['u64', 'u64'] },
  free: { return: 'void', arguments: ['pointer'] },
  uv_version: { return: 'u32', arguments: [] },
  uv_version_string: { return: 'pointer', arguments: [] },
  uv_handle_size: { return: 'u64', arguments: ['i32'] },
  uv_backend_fd: { return: 'i32', arguments: ['pointer'] },
  uv_backend_timeout: { return: 'i32', arguments: ['pointer'] },
  uv_update_time: { return: 'void', arguments: ['pointer'] },
  uv_idle_init: { return: 'i32', arguments: ['pointer', 'pointer'] },
  uv_idle_start: { return: 'i32', arguments: ['pointer', 'pointer'] },
  uv_idle_stop: { return: 'i32', arguments: ['pointer'] },
  uv_async_init: { return: 'i32', arguments: ['pointer', 'pointer', 'pointer'] },
  uv_close: { return: 'void', arguments: ['pointer', 'pointer'] },
  uv_ref: { return: 'void', arguments: ['pointer'] },
  uv_unref: { return: 'void', arguments: ['pointer'] },
});
const c = library.functions;

const UV_ASYNC = 1;
const UV_IDLE = 6;
/** As read on libuv 1.52 (x86-64): sizes of uv_async_t and uv_idle_t, offset of a handle's flags. */
const ASYNC_HANDLE_BYTES = 128;
const IDLE_HANDLE_BYTES = 120;
const FLAGS_OFFSET = 88;
/** UV_HANDLE_REF, and UV_HANDLE_ACTIVE with it. */
const FLAGS_INITIAL = 0x8;
const FLAGS_STARTED = 0xc;
const UV_HANDLE_INTERNAL = 0x10;

/**
 * What the loop calls where a handle wants a function and there is nothing to do: one that has no effect and is native,
 * because nothing of JavaScript may be called when a worker is being torn down.
 */
const NOTHING = library.lib.getSymbol('uv_version');

/** What self-check.ts compares. */
export function libuvFacts(): Readonly<{
  version: string;
  asyncHandleBytes: number;
  idleHandleBytes: number;
}> {
  return {
    version: ffi.toString(c.uv_version_string()) ?? '',
    asyncHandleBytes: Number(c.uv_handle_size(UV_ASYNC)),
    idleHandleBytes: Number(c.uv_handle_size(UV_IDLE)),
  };
}

/** Of the C library, not of JavaScript: a worker's loop looks at its handles once more when its heap is gone. */
type Handle = Readonly<{ address: bigint; buffer: Buffer }>;

/**
 * What it takes to sleep in the place of this thread's libuv loop: whoever waits for `descriptor` too, and no longer than
 * timeoutMs(), keeps nothing from the loop.
 */
export class LoopSeat {
  readonly #loop = ffi.getCurrentEventLoop();
  /** While it runs the loop goes round without sleeping. */
  readonly #spin = allocateHandle(IDLE_HANDLE_BYTES);
  /** Never sent; it counts as something that the loop has to wait for. */
  readonly #anchor = allocateHandle(ASYNC_HANDLE_BYTES);
  #open = true;

  /** @throws {Error} where libuv's handles are laid out differently from what we know. */
  constructor() {
    c.uv_async_init(this.#loop, this.#anchor.address, NOTHING);
    c.uv_idle_init(this.#loop, this.#spin.address);
    markInternal(this.#anchor, FLAGS_STARTED);
    markInternal(this.#spin, FLAGS_INITIAL);
    this.keepAlive(false);
  }

  /** Readable when the loop has something to handle. */
  get descriptor(): number {
    return c.uv_backend_fd(this.#loop);
  }

  /** How long the loop would sleep now: 0 when it wants its turn, -1 without end. For this the loop's time is set anew. */
  timeoutMs(): number {
    c.uv_update_time(this.#loop);
    return c.uv_backend_timeout(this.#loop);
  }

  /** Makes the loop go round without sleeping, until told otherwise. */
  keepAwake(awake: boolean): void {
    if (!this.#open) return;
    if (awake) c.uv_idle_start(this.#spin.address, NOTHING);
    else c.uv_idle_stop(this.#spin.address);
  }

  /** Lets the process end, or keeps it, while only this is open. */
  keepAlive(keep: boolean): void {
    if (!this.#open) return;
    if (keep) c.uv_ref(this.#anchor.address);
    else c.uv_unref(this.#anchor.address);
  }

  close(): void {
    if (!this.#open) return;
    this.keepAwake(false);
    this.#open = false;
    for (const handle of [this.#spin, this.#anchor]) c.uv_close(handle.address, 0n);
    // libuv lets go of the memory after the loop has gone round once more; two rounds are enough either way.
    setImmediate(() => {
      setImmediate(() => {
        for (const handle of [this.#spin, this.#anchor]) c.free(handle.address);
      });
    });
  }
}

function allocateHandle(bytes: number): Handle {
  const address = c.calloc(1n, BigInt(bytes));
  if (address === 0n) throw new Error('Cannot join the event loop: no memory');
  return { address, buffer: viewNative(address, bytes) };
}

/** An open handle in a worker aborts the process when the worker ends; libuv leaves its own (internal) ones alone. */
function markInternal(handle: Handle, expectedFlags: number): void {
  const flags = handle.buffer.readUInt32LE(FLAGS_OFFSET);
  if (flags !== expectedFlags)
    throw new Error(`Cannot join the event loop: flags of a libuv handle are ${flags}`);
  handle.buffer.writeUInt32LE(flags | UV_HANDLE_INTERNAL, FLAGS_OFFSET);
}
