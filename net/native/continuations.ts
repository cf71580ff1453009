/*
 * Node runs promise continuations and nextTicks when its own callbacks return. The engine's turns follow each other inside
 * one, and sleep there: without this what they settle would wait. Node's own tick function runs it, in 12 ns when there is
 * nothing to run, where a setImmediate() costs a round of the loop with its system call.
 */
const tick: unknown = Reflect.get(process, '_tickCallback');

/** Runs the continuations and nextTicks that wait. May throw what they throw. */
export const runContinuations: () => void =
  typeof tick === 'function'
    ? (tick.bind(process) as () => void)
    : () => {
        setImmediate(() => undefined);
      };
