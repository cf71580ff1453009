import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { isSame, seenOf, type Seen } from './look.ts';

/** A file that changes while it is read is read again after this long, so often. */
const AGAIN_MS = 8;
const MAX_ATTEMPTS = 8;

/**
 * A file's text with the state of the file that it is the text of; no text for one that is larger than `maxBytes`. One
 * that never rests is taken as it is after some attempts.
 *
 * @throws what the file system says.
 */
export async function readStable(
  file: string,
  maxBytes: number,
): Promise<Readonly<{ seen: Seen; text: string | undefined }>> {
  for (let attempt = 1; ; attempt++) {
    const { seen, after, text } = readOnce(file, maxBytes);
    if (isSame(seen, after) || attempt === MAX_ATTEMPTS) return { seen, text };
    await delay(AGAIN_MS);
  }
}

function readOnce(
  file: string,
  maxBytes: number,
): Readonly<{ seen: Seen; after: Seen; text: string | undefined }> {
  // A pipe in its place must not hold us up.
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(descriptor);
    const seen = seenOf(stat);
    if (!stat.isFile()) throw new Error('it is no file');
    if (stat.size > maxBytes) return { seen, after: seen, text: undefined };
    const text = readFileSync(descriptor, 'utf8');
    return { seen, after: seenOf(fstatSync(descriptor)), text };
  } finally {
    closeSync(descriptor);
  }
}
