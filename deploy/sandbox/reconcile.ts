/**
 * Makes a trigger for work that looks at everything and repairs what differs: however often it is triggered, it runs
 * once at a time, and once more when something changed meanwhile.
 *
 * @param onError told what a run threw; the next trigger runs it again.
 */
export function reconciler(
  run: () => void | Promise<void>,
  onError: (error: unknown) => void,
): Reconciler {
  let running = false;
  let again = false;
  const idle: (() => void)[] = [];
  const loop = async (): Promise<void> => {
    running = true;
    while (again) {
      again = false;
      try {
        await run();
      } catch (error) {
        onError(error);
      }
    }
    running = false;
    for (const resolve of idle.splice(0)) resolve();
  };
  return {
    trigger: () => {
      again = true;
      if (running) return;
      running = true;
      setImmediate(() => void loop());
    },
    busy: () => running || again,
    whenIdle: () =>
      running || again ? new Promise((resolve) => idle.push(resolve)) : Promise.resolve(),
  };
}

export type Reconciler = Readonly<{
  trigger: () => void;
  busy: () => boolean;
  whenIdle: () => Promise<void>;
}>;
