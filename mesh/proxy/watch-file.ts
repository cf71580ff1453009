import { watch } from 'node:fs';
import { dirname } from 'node:path';

/** As istio/ztunnel joins the many events of one change of a mounted folder. */
const SETTLE_MS = 2000;

/** Tells, some time after it has settled, that something in a file's folder has changed; until it is disposed. */
export function watchFile(path: string, onChange: () => void, settleMs = SETTLE_MS): Disposable {
  let timer: NodeJS.Timeout | undefined;
  // The folder: a mounted file is a link, and what changes is where it leads.
  const watcher = watch(dirname(path), () => {
    clearTimeout(timer);
    timer = setTimeout(onChange, settleMs);
  });
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      watcher.close();
    },
  };
}
