import test from 'ava';
import { CANCEL, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM } from '../../net/h2/errors.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import type { Http2Stream } from '../../net/h2/stream.ts';
import { replayPiecesInUse } from '../../waypoint/replay-body.ts';
import { Collector } from '../support/collect.ts';
import { openStream } from '../support/h2-client.ts';
import { request } from '../support/h2-frames.ts';
import { type H2Server, serveH2 } from '../support/h2-peer.ts';
import { policy, TestWaypoint } from '../support/waypoint-requests.ts';

const REQUESTS = 400;
const AT_A_TIME = 20;

/** The generator of Lehmer: a seed that failed can be run again. */
function makeRandom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48_271) % 0x7fff_ffff;
    return state % below;
  };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function pattern(seed: number, length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, index) => (index * 31 + seed) % 253));
}

/** What an upstream does with one request: some steps in order, with pauses, and at any point an end of some kind. */
async function behave(
  stream: Http2Stream,
  list: HeaderList,
  random: (below: number) => number,
  closeConnection: () => void,
): Promise<void> {
  const body = new Collector(stream);
  const id = Number(list[list.indexOf('x-id') + 1]);
  const answer = pattern(id, Number(list[list.indexOf('x-answer') + 1]));
  const pause = async (): Promise<void> => {
    for (let turns = random(4); turns > 0; turns--) await turn();
  };
  /** One in ten at each point. */
  const breaks = (): boolean => {
    if (random(10) > 0) return false;
    const how = random(12);
    if (how === 0) closeConnection();
    else stream.reset([CANCEL, INTERNAL_ERROR, NO_ERROR, REFUSED_STREAM][how % 4]);
    return true;
  };
  try {
    await pause();
    if (breaks()) return;
    if (random(2) === 0) await body.until((c) => c.ended || c.error !== undefined);
    if (breaks()) return;
    const status = random(8) === 0 ? '503' : '200';
    const hasLength = random(2) === 0;
    stream.respond([
      ...[':status', status, 'x-id', `${id}`],
      ...(hasLength ? ['content-length', `${answer.length}`] : []),
    ]);
    for (let done = 0; done < answer.length; ) {
      const end = Math.min(answer.length, done + 1 + random(40_000));
      await body.write(answer.subarray(done, end));
      done = end;
      if (breaks()) return;
      await pause();
    }
    if (random(2) === 0) stream.sendTrailers(['x-sum', `${id}`]);
    else stream.end();
    if (random(3) === 0) stream.reset(NO_ERROR);
  } catch {
    // The stream broke while it was written to.
  }
}

test('property: a client gets a whole answer, or a reset or 5xx, whatever breaks and when', async (t) => {
  const seed = Date.now() % 0x7fff_0000;
  const random = makeRandom(seed + 1);
  const upstreams: H2Server[] = [];
  for (let count = 0; count < 3; count++) {
    const upstream: H2Server = serveH2(t, (stream, list) => {
      void behave(stream, list, random, () => {
        upstream.connections.at(-1)?.close();
      });
    });
    upstreams.push(upstream);
  }
  const waypoint = new TestWaypoint(
    t,
    upstreams.map(({ port }) => port),
    { rule: { retry: policy({ conditions: ['5xx'] }) } },
  );
  const connection = await waypoint.connect(t);
  const seen = { whole: 0, local: 0, reset: 0, left: 0 };

  const ask = async (id: number): Promise<void> => {
    const answer = pattern(id, random(3) === 0 ? random(200_000) : random(2000));
    const upload = pattern(id + 1, random(3) === 0 ? random(120_000) : random(1000));
    const list = [...request('POST'), 'x-id', `${id}`, 'x-answer', `${answer.length}`];
    const [stream, body, told] = openStream(connection, list);
    const leaves = random(12) === 0;
    const slow = random(4) === 0;
    if (slow) body.allowance = 1 + random(1000);
    const sending = body
      .write(upload)
      .then(() => {
        stream.end();
      })
      .catch(() => undefined);
    if (slow) {
      for (let turns = random(20); turns > 0; turns--) await turn();
      body.release();
    }
    if (leaves) {
      for (let turns = random(20); turns > 0; turns--) await turn();
      if (!body.ended && body.error === undefined) {
        stream.reset();
        seen.left++;
        return;
      }
    }
    await body.until((c) => c.ended || c.error !== undefined);
    if (body.ended) {
      const [response = []] = told.responses;
      const isUpstreams = response.includes('x-id');
      if (isUpstreams) {
        t.true(response.includes(`${id}`), 'the answer to another request');
        t.true(body.data.equals(answer), `seed ${seed}: ${body.received} of ${answer.length}`);
        seen.whole++;
      } else {
        t.regex(response[1] ?? '', /^5\d\d$/);
        seen.local++;
      }
    } else {
      t.true(body.data.equals(answer.subarray(0, body.received)), `seed ${seed}`);
      seen.reset++;
    }
    if (body.error !== undefined || !stream.closed) stream.reset();
    await sending;
  };

  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < REQUESTS) await ask(next++);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  await waypoint.record(REQUESTS);
  t.log(JSON.stringify(seen));
  for (const [what, count] of Object.entries(seen)) t.true(count > 0, `none was ${what}`);
  t.is(waypoint.backend.active, 0, `seed ${seed}: a try is still counted`);
  t.is(waypoint.backend.retries, 0);
  t.is(replayPiecesInUse(), 0);
  t.deepEqual(waypoint.faults, []);
});
