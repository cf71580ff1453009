import type { Sandbox } from '../../cli/sandbox.ts';
import type { KubernetesObject, WatchEvent } from '../../deploy/sandbox/api.ts';
import { withDeadline } from './deadline.ts';

const WATCH_TIMEOUT_MS = 20_000;

/**
 * Waits until an object of that kind is as wanted, and answers with it.
 *
 * @param what is said when it does not happen in time.
 */
export async function watchObjects(
  sandbox: Sandbox,
  kind: string,
  isWanted: (object: KubernetesObject) => boolean,
  what: string,
): Promise<KubernetesObject> {
  const { promise, resolve } = Promise.withResolvers<KubernetesObject>();
  const abort = new AbortController();
  let rest = '';
  const take = (chunk: Uint8Array): void => {
    const lines = (rest + Buffer.from(chunk).toString()).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const event = JSON.parse(line) as WatchEvent;
      const there = event.type === 'ADDED' || event.type === 'MODIFIED';
      if (there && isWanted(event.object)) resolve(event.object);
    }
  };
  // It ends with the answer, or with the sandbox.
  sandbox.stream('/v1/watch', { kind }, take, abort.signal).catch(() => undefined);
  try {
    return await withDeadline(promise, WATCH_TIMEOUT_MS, what);
  } finally {
    abort.abort();
  }
}
