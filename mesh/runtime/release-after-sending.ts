import { releaseMemory } from './release-memory.ts';

/** More in buffers than there was after the last release; less is not worth stopping for. */
const MANY_BYTES = 64 << 20;
/** Growing by so much between two looks, the end is still to come. */
const STILL_GROWING_BYTES = MANY_BYTES / 16;
/** How often the buffers are looked at. */
const LOOK_MS = 2000;
/** However much is sent, the thread stops for it once a minute at the most. */
const REST_MS = 60_000;

export type ReleaseAfterSendingOptions = Readonly<{
  lookMs?: number;
  restMs?: number;
  release?: () => void;
  /** Bytes in buffers, those included that nobody holds any more. */
  held?: () => number;
}>;

/**
 * Gives this thread's memory back, by releaseMemory(), when much has been put into buffers and it has become quiet: what
 * many proxies were sent at once stays for long as garbage, because V8 counts its objects, which are few. Stops when
 * disposed.
 */
export function releaseAfterSending(options: ReleaseAfterSendingOptions = {}): Disposable {
  const { lookMs = LOOK_MS, restMs = REST_MS, release = releaseMemory } = options;
  const held = options.held ?? ((): number => process.memoryUsage().arrayBuffers);
  let kept = held();
  let before = kept;
  let restedMs = -Infinity;
  const timer = setInterval(() => {
    const now = held();
    const isGrowing = now > before + STILL_GROWING_BYTES;
    before = now;
    kept = Math.min(kept, now);
    const nowMs = performance.now();
    if (isGrowing || now < kept + MANY_BYTES || nowMs < restedMs) return;
    restedMs = nowMs + restMs;
    release();
    kept = held();
    before = kept;
  }, lookMs);
  timer.unref();
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
    },
  };
}
