import type { HboneSession } from './session.ts';

/**
 * When further attempts begin beside those that run, in milliseconds after the first. A handshake takes milliseconds; one
 * whose packets, or whose other end, were lost is only known by its silence, and all who wait for the session wait with
 * it. Nine in three seconds find a way soon after there is one, also where several proxies stand one behind the other and each has
 * to find its own; and they are no flood to a peer that is slow.
 */
const FURTHER_AT_MS = [250, 500, 800, 1_200, 1_600, 2_000, 2_500, 3_000] as const;

/** One attempt: `timeoutMs` is what is left for it; when the signal aborts, nobody wants it any more. */
export type OpenAttempt = (
  limits: Readonly<{ signal: AbortSignal; timeoutMs: number }>,
) => Promise<HboneSession>;

/**
 * Opens a session by as many attempts as it takes: the first that succeeds wins, the others are given up.
 *
 * @param timeoutMs for all of them together.
 * @throws what the attempt throws that fails when no other runs: the first one's failure at once, if it is a quick one.
 */
export function openHedged(
  attempt: OpenAttempt,
  { signal, timeoutMs }: Readonly<{ signal: AbortSignal; timeoutMs: number }>,
): Promise<HboneSession> {
  const beganMs = performance.now();
  const elapsedMs = (): number => performance.now() - beganMs;
  const running = new Set<AbortController>();
  let further = 0;
  let timer: NodeJS.Timeout | undefined;

  const { promise, resolve, reject } = Promise.withResolvers<HboneSession>();
  let over = false;
  const finish = (): void => {
    over = true;
    clearTimeout(timer);
    signal.removeEventListener('abort', giveUp);
    for (const other of running) other.abort();
  };
  const giveUp = (): void => {
    clearTimeout(timer);
    for (const one of running) one.abort(signal.reason);
  };
  const begin = (): void => {
    const own = new AbortController();
    running.add(own);
    attempt({ signal: own.signal, timeoutMs: timeoutMs - elapsedMs() }).then(
      (session) => {
        running.delete(own);
        if (over) {
          session.close(); // it was done when it was given up
          return;
        }
        finish();
        resolve(session);
      },
      (error: unknown) => {
        running.delete(own);
        if (over || running.size > 0) return;
        finish();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
    const nextMs = FURTHER_AT_MS[further++];
    if (nextMs !== undefined && nextMs < timeoutMs)
      timer = setTimeout(begin, Math.max(0, nextMs - elapsedMs()));
  };

  if (signal.aborted) reject(signal.reason as Error);
  else {
    signal.addEventListener('abort', giveUp, { once: true });
    begin();
  }
  return promise;
}
