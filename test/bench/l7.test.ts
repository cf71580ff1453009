import { join } from 'node:path';
import test from 'ava';
import { runChild } from '../../bench/harness/child.ts';
import type { Job } from '../../bench/l7/job.ts';
import { measure } from '../../bench/l7/measure.ts';
import { startProxyJob } from '../../bench/l7/proxy-job.ts';
import { GRPC, HTTP1, HTTP2, LARGE, SMALL, WORKS, type Work } from '../../bench/l7/works.ts';

test.serial('every plain proxy carries each kind of work that it is measured for', async (t) => {
  await using stack = new AsyncDisposableStack();
  const job = await startProxyJob(stack);
  t.deepEqual(
    job.subjects.map(({ name, port }) => [name, WORKS.filter((work) => !port(work)).length]),
    [
      ['halo', 0],
      ['nginx', 1],
      ['haproxy', 0],
      ['envoy', 0],
    ],
  );
  t.is(job.notCompared.length, 1);
  for (const { name, port } of job.subjects) {
    t.is(await answerBytes(job, port(GRPC), SMALL.paths.grpc), 0, name);
    t.is(await answerBytes(job, port(GRPC), LARGE.paths.grpc), 16 << 10, name);
  }
  const [ours] = job.subjects;
  if (ours === undefined) throw new Error('nobody is measured');
  for (const work of [HTTP1, HTTP2, GRPC] satisfies Work[]) {
    const asked = { work, path: LARGE.paths[work.call], connections: 4 };
    const found = await measure(job, ours, asked, { ms: 100, warmMs: 50 });
    for (const value of Object.values(found)) t.true(value > 0, `${work.title}: ${value}`);
    const wrong = { ...asked, path: '/missing' };
    await t.throwsAsync(measure(job, ours, wrong, { ms: 50, warmMs: 10 }), {
      message: /^Cannot count requests/,
    });
  }
});

/** By a client that others wrote, where the load comes from. */
async function answerBytes(job: Job, port: number | undefined, path: string): Promise<number> {
  const program = join(import.meta.dirname, '..', 'support', 'grpc-call-program.ts');
  const command = [process.execPath, '--disable-warning=ExperimentalWarning', program];
  return Number(await runChild(job.enter([...command, `127.0.0.1:${port ?? 0}`, path])));
}
