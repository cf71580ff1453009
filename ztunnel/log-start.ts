import type { Log } from '../mesh/runtime/log.ts';

/**
 * Notes how far the start is, for `RUST_LOG=info,start=debug`: in milliseconds since the process began, whichever thread
 * says so. While a ztunnel that was killed is replaced, each of them is waited for.
 */
export function logStart(log: Log, step: string): void {
  const logger = log.scope('start');
  if (logger.isEnabled('debug'))
    logger.debug(step, { after: `${(process.uptime() * 1000).toFixed(1)}ms` });
}
