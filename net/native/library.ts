import ffi from 'node:ffi';

/*
 * `node:ffi` puts a function of JavaScript around each native one. It looks at every argument anew and takes 20 to 250 ns, and
 * 800 with none and with more than three. The native function looks at them too, but where V8 has compiled the call only at
 * their kinds, and a number that does not fit is cut. Addresses, counts and lengths are made and checked in this folder
 * (memory.ts), what else is passed are constants and what the kernel gave. So native functions are called themselves. Node
 * does not hand them out: while it puts its own around them, it asks each for a property that they do not have, and whoever is
 * asked next, in their prototype, is told for whom. See docs/decisions/direct-calls.md.
 */

type Definitions = ffi.FunctionDefinitions;
type Functions<D extends Definitions> = ffi.WrappedFunctionsFromDefinitions<D>;

/** What a module of this folder calls. */
export type Library<D extends Definitions> = Readonly<{
  lib: ffi.DynamicLibrary;
  functions: Functions<D>;
  /** Those that Node kept to itself: they are called through its own function. */
  wrapped: readonly string[];
}>;

/**
 * Looks up functions of this process: the C library, and what the node binary exports. A wrong kind of argument is an error; a
 * number that does not fit may be one, or be cut to the lowest bits of its whole part (NaN: 0). An address may be a bigint, a
 * Buffer, a text or null.
 *
 * @throws {Error} ERR_FFI_CALL_FAILED when there is none of a name.
 */
export function openLibrary<const D extends Definitions>(definitions: D): Library<D> {
  const natives = new Map<string, NativeFunction>();
  const { lib, functions } = whileWatched(
    (native) => natives.set(native.name, native),
    () => ffi.dlopen(null, definitions),
  );
  const wrapped: string[] = [];
  const entries = Object.entries<NativeFunction>(functions).map(([name, wrapper]) => {
    const native = natives.get(name);
    if (native?.pointer === wrapper.pointer) return [name, native];
    wrapped.push(name);
    return [name, wrapper];
  });
  return { lib, functions: Object.fromEntries(entries) as Functions<D>, wrapped };
}

type NativeFunction = ffi.WrappedFunction;

function isNativeFunction(value: unknown): value is NativeFunction {
  return (
    typeof value === 'function' &&
    typeof Object.getOwnPropertyDescriptor(value, 'pointer')?.value === 'bigint'
  );
}

/** Tells of each native function that Node asks for one of its own symbols while `action` runs. */
function whileWatched<T>(onNative: (native: NativeFunction) => void, action: () => T): T {
  const usual: unknown = Object.getPrototypeOf(Function.prototype);
  const watching = new Proxy(usual as object, {
    get(target, key, asked) {
      if (typeof key === 'symbol' && isNativeFunction(asked)) onNative(asked);
      return Reflect.get(target, key, asked) as unknown;
    },
  });
  Object.setPrototypeOf(Function.prototype, watching);
  try {
    return action();
  } finally {
    Object.setPrototypeOf(Function.prototype, usual as object);
  }
}
