import { appendFileSync } from 'node:fs';
import type { Logger } from '../runtime/log.ts';

/** TLS secrets go to a file only where the operator has named one. */
export function keyLogTo(
  path: string | undefined,
  logger: Logger,
): { onKeyLog?: (line: string) => void } {
  if (path === undefined || path === '') return {};
  logger.warn('TLS secrets are written to a file: whoever reads it can read all traffic', { path });
  return {
    onKeyLog: (line) => {
      appendFileSync(path, `${line}\n`, { mode: 0o600 });
    },
  };
}
