import { HEADROOM, type SharedBytes } from './byte-stream.ts';
import { EVENTS_PER_POLL } from './epoll-set.ts';
import { allocateShared } from './native/memory.ts';

/*
 * A turn reads the sockets that have little for it before it handles the first of them: the kernel's code and ours push each
 * other out of a core's cache when they take turns. See docs/decisions/heads-as-bytes.md.
 */

/** What is read early of one socket; who gets so much is read in larger pieces the next time. */
export const EARLY_BYTES = 4 << 10;
/** Each place begins in other lines of the cache than the one before. */
const STAGGER_BYTES = 64;

const unused: SharedBytes[] = [];
let made = 0;

/** Memory for HEADROOM and EARLY_BYTES, until it is given back; one for each event of a turn. */
export function takePlace(): SharedBytes | undefined {
  const place = unused.pop();
  if (place !== undefined || made === EVENTS_PER_POLL) return place;
  const bytes = HEADROOM + EARLY_BYTES + STAGGER_BYTES * made++;
  return { ...allocateShared(bytes), free: true };
}

export function giveBack(place: SharedBytes): void {
  unused.push(place);
}
