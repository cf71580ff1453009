import type { Sandbox } from '../../cli/sandbox.ts';
import type { KubernetesObject } from '../../deploy/sandbox/api.ts';
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
  const abort = new AbortController();
  const look = async (): Promise<KubernetesObject> => {
    for await (const event of sandbox.watch(kind, abort.signal)) {
      const there = event.type === 'ADDED' || event.type === 'MODIFIED';
      if (there && isWanted(event.object)) return event.object;
    }
    throw new Error(`the sandbox ended before: ${what}`);
  };
  const found = look();
  found.catch(() => undefined); // it ends with the deadline too
  try {
    return await withDeadline(found, WATCH_TIMEOUT_MS, what);
  } finally {
    abort.abort();
  }
}
