/*
 * Node runs no promise continuation and no nextTick after a native callback by itself: they wait until something else
 * enters JavaScript. Node's own tick function runs them in 12 ns when there is nothing to run, where a setImmediate()
 * costs a round of the loop with its system call.
 */
const tick: unknown = Reflect.get(process, '_tickCallback');

/** Runs the continuations and nextTicks that wait. May throw what they throw. */
export const runContinuations: () => void =
  typeof tick === 'function'
    ? () => {
        Reflect.apply(tick, process, []);
      }
    : () => {
        setImmediate(() => undefined);
      };
