import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { ExpectedBytes } from '../../support/tagged-bytes.ts';
import type { LargeBody } from './large-body.ts';

/* Runs in a pod: `client-program.ts down|up URL BYTES`. Prints what came of it as JSON. */
const [direction, url = '', bytes = ''] = process.argv.slice(2);
const length = Number(bytes);
const MOST_AT_ONCE = 1 << 18;
/** In the middle of a download the reader stops for a while: what is on the way then has to wait at its source. */
const PAUSE_MS = 2000;

const beganMs = performance.now();
const { wrong, pausedMs } = direction === 'up' ? await upload() : await download();
const seconds = (performance.now() - beganMs - pausedMs) / 1000;
const result: LargeBody = { wrong, gigabitsPerSecond: (length * 8) / seconds / 1e9 };
process.stdout.write(`${JSON.stringify(result)}\n`);

type Outcome = Readonly<{ wrong: string; pausedMs: number }>;

async function download(): Promise<Outcome> {
  const asked = request(`${url}/${length}`, { agent: false });
  asked.end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  const expected = new ExpectedBytes({ nonce: 1, length }, 1);
  let paused = false;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    const wrong = expected.check(chunk);
    if (wrong !== undefined) return { wrong, pausedMs: 0 };
    if (paused || expected.done < length / 2) continue;
    paused = true;
    await delay(PAUSE_MS);
  }
  const wrong = expected.done === length ? '' : `${expected.done} of ${length} bytes`;
  return { wrong, pausedMs: PAUSE_MS };
}

async function upload(): Promise<Outcome> {
  const headers = { 'content-length': length };
  const asked = request(`${url}/${length}`, { agent: false, method: 'POST', headers });
  const expected = new ExpectedBytes({ nonce: 1, length }, 0);
  while (expected.done < length)
    if (!asked.write(expected.next(MOST_AT_ONCE))) await once(asked, 'drain');
  asked.end();
  const [response] = (await once(asked, 'response')) as [IncomingMessage];
  return { wrong: await text(response), pausedMs: 0 };
}
