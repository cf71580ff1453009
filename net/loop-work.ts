import { performance } from 'node:perf_hooks'; // the global of that name is a getter

/** Hears of each stretch of work, in milliseconds. */
type WorkListener = (ms: number) => void;

/** All that the reactor's turns took, their sleep too: nothing of it is Node's. */
let reactorMs = 0;
let listener: WorkListener | undefined;

/** The reactor's: how long a turn worked, without its sleep. */
export function tellTurn(ms: number): void {
  listener?.(ms);
}

/** The reactor's: how long it was before Node's loop had its turn again. */
export function tellTurns(ms: number): void {
  reactorMs += ms;
}

/**
 * Tells how long this thread works without looking for events: each turn of the reactor, and each round of Node's loop. No timer
 * wakes a thread that has nothing to do, and what is told is exact; of the last stretch before a sleep of Node's loop it is
 * told only when the loop wakes up. One listener a thread; ends when disposed.
 */
export function watchWork(onWork: WorkListener): Disposable {
  listener = onWork;
  let lookedMs = performance.now();
  let restMs = restSoFar();
  const look = (): void => {
    const nowMs = performance.now();
    const restedMs = restSoFar();
    onWork(nowMs - lookedMs - (restedMs - restMs));
    lookedMs = nowMs;
    restMs = restedMs;
    if (listener === onWork) next = wait();
  };
  // Without a hold on the loop an immediate is run when the loop goes round, and lets it sleep before.
  const wait = (): NodeJS.Immediate => setImmediate(look).unref();
  let next = wait();
  return {
    [Symbol.dispose]: () => {
      clearImmediate(next);
      if (listener === onWork) listener = undefined;
    },
  };
}

/** How long Node's loop was asleep, or did not run because the reactor did. */
function restSoFar(): number {
  return performance.nodeTiming.idleTime + reactorMs;
}
