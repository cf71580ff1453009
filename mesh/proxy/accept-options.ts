import { getSystemErrorName } from 'node:util';
import type { KeepAlive } from '../../net/socket-options.ts';
import type { Logger } from '../runtime/log.ts';

/** A lasting lack of descriptors is reported so often. */
const EXHAUSTED_REPORT_MS = 10_000;

/** How a proxy's listeners accept what is relayed as it is. */
export function acceptOptions(
  parts: Readonly<{ keepAlive: KeepAlive | undefined; takesTurns: boolean; log: Logger }>,
): Readonly<{
  keepAlive?: KeepAlive;
  takesTurns: boolean;
  abortive: true;
  onExhausted: (errno: number) => void;
}> {
  const { keepAlive, takesTurns, log } = parts;
  let quietUntilMs = 0;
  return {
    ...(keepAlive && { keepAlive }),
    ...{ takesTurns, abortive: true },
    onExhausted(errno) {
      // Told ten times a second as long as it lasts.
      if (performance.now() < quietUntilMs) return;
      quietUntilMs = performance.now() + EXHAUSTED_REPORT_MS;
      log.warn('cannot accept connections for now', { error: getSystemErrorName(-errno) });
    },
  };
}
