import { openLog } from '../../mesh/runtime/log.ts';
import type { DataParts } from '../../ztunnel/parts.ts';

/** The logs of a TestNode that does so much that nobody could read them. */
export function quietLogs(): Pick<DataParts, 'accessLog' | 'log'> {
  const quiet = openLog({
    ...{ format: 'json', levels: { fallback: 'info', scopes: new Map() } },
    writer: { write: () => undefined, flush: () => undefined },
  });
  return { accessLog: quiet.scope('access'), log: quiet.scope('ztunnel') };
}
