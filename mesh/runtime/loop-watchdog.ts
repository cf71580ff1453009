import type { MetricCell, Metrics } from './metrics.ts';

/** How often the loop is asked; a block shorter than this may go unseen. */
const TICK_MS = 20;
/** Longer than this, a turn is felt by every connection of its thread. */
export const BLOCK_MS = 50;

export type LoopWatchdogOptions = Readonly<{
  metrics: Metrics;
  /** Label of the series: `control` or `data-0`. */
  thread: string;
  onBlock?: (blockMs: number) => void;
}>;

/** Measures how long this thread's event loop was blocked; stops when disposed. */
export function watchLoop(options: LoopWatchdogOptions): Disposable {
  const { metrics, thread, onBlock } = options;
  const labelled = { labelNames: ['thread'], merge: 'max' } as const;
  const longest: MetricCell = metrics
    .gauge('halo_event_loop_longest_block_seconds', 'Longest block since the start', labelled)
    .cell(thread);
  const blocks: MetricCell = metrics
    .counter('halo_event_loop_blocks_total', `Blocks above ${BLOCK_MS} ms`, labelled)
    .cell(thread);
  let dueMs = performance.now() + TICK_MS;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    const lateMs = nowMs - dueMs;
    dueMs = nowMs + TICK_MS;
    if (lateMs / 1000 > longest.value) longest.value = lateMs / 1000;
    if (lateMs < BLOCK_MS) return;
    blocks.value++;
    onBlock?.(lateMs);
  }, TICK_MS);
  timer.unref();
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
    },
  };
}
