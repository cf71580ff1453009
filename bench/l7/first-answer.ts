import { setTimeout as wait } from 'node:timers/promises';
import { runChild } from '../harness/child.ts';
import type { Job, Subject } from './job.ts';
import { SMALL, WORKS, type Work } from './works.ts';

const START_TRIES = 100;
const PAUSE_MS = 50;
/** Asked one after another behind the first answer, and read to their ends. */
const CALLS = 10;
const CALL_RATE = 100;

/**
 * Waits until a subject answers everything that it can be asked, and looks at its answers.
 *
 * @param field that has to be among those of each answer, because a proxy that has not read the request does not add it.
 * @throws {Error} when what answers does less than it is measured for.
 */
export async function firstAnswers(
  job: Omit<Job, 'subjects'>,
  subject: Subject,
  field?: string,
): Promise<void> {
  for (const work of WORKS) {
    const port = subject.port(work);
    if (port === undefined) continue;
    const head = await firstHead(job, work, port);
    const status = work.from === 'http2' ? /^HTTP\/2 200\b/ : /^HTTP\/1\.1 200\b/;
    if (!status.test(head) || (field !== undefined && !head.includes(`\n${field}:`)))
      throw new Error(`Cannot measure ${subject.name}, ${work.title}: ${JSON.stringify(head)}`);
    const { errors } = await job.askAtRate({
      ...{ host: '127.0.0.1', port, version: work.from, call: work.call },
      ...{ path: SMALL.paths[work.call], connections: 1, rate: CALL_RATE, count: CALLS },
    });
    if (errors > 0) throw new Error(`Cannot measure ${subject.name}, ${work.title}: calls fail`);
  }
}

async function firstHead(job: Omit<Job, 'subjects'>, work: Work, port: number): Promise<string> {
  const version = work.from === 'http2' ? ['--http2-prior-knowledge'] : [];
  const grpc = ['-X', 'POST', '-H', 'content-type: application/grpc', '-H', 'te: trailers'];
  const url = `http://127.0.0.1:${port}${SMALL.paths[work.call]}`;
  const curl = ['curl', '-si', '-m', '5', ...version, ...(work.call === 'grpc' ? grpc : []), url];
  for (let tries = 1; ; tries++) {
    try {
      const [head = ''] = (await runChild(job.enter(curl))).split('\r\n\r\n');
      return head;
    } catch (error) {
      if (tries === START_TRIES) throw error;
      await wait(PAUSE_MS);
    }
  }
}
