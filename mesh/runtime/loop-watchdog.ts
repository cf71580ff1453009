import { watchWork } from '../../net/loop-work.ts';
import type { Logger } from './log.ts';
import type { MetricCell, Metrics } from './metrics.ts';

/** Longer than this, a stretch of work is felt by every connection of its thread. */
export const BLOCK_MS = 50;

/** So long a block is worth a warning, whatever the reason: probes and deadlines notice it. */
const LONG_BLOCK_MS = 500;

export type LoopWatchdogOptions = Readonly<{
  metrics: Metrics;
  /** Label of the series: `control` or `data-0`. */
  thread: string;
  /** Told of every block, at level debug; of 500 ms and more as a warning. */
  logger: Logger;
  onBlock?: (blockMs: number) => void;
}>;

/** Measures how long this thread's event loop was blocked; stops when disposed. */
export function watchLoop(options: LoopWatchdogOptions): Disposable {
  const { metrics, thread, logger, onBlock } = options;
  const labelled = { labelNames: ['thread'], merge: 'max' } as const;
  const longest: MetricCell = metrics
    .gauge('halo_event_loop_longest_block_seconds', 'Longest block since the start', labelled)
    .cell(thread);
  const blocks: MetricCell = metrics
    .counter('halo_event_loop_blocks_total', `Blocks above ${BLOCK_MS} ms`, labelled)
    .cell(thread);
  let longestMs = 0;
  return watchWork((workMs) => {
    if (workMs > longestMs) {
      longestMs = workMs;
      longest.value = workMs / 1000;
    }
    if (workMs < BLOCK_MS) return;
    blocks.value++;
    const level = workMs < LONG_BLOCK_MS ? 'debug' : 'warn';
    logger.log(level, 'the event loop was blocked', { thread, block: `${Math.round(workMs)}ms` });
    onBlock?.(workMs);
  });
}
