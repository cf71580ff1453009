import { measureRounds } from '../harness/rounds.ts';
import { makeRow, type Row } from '../harness/rows.ts';
import { sides, type SubjectName } from './cost.ts';
import type { Job, Measuring, Subject } from './job.ts';
import { GRPC, HTTP1, HTTP2, SMALL, type Work } from './works.ts';

/** Requests a second: a part of what any of them can do. */
const RATE = 1000;
const CONNECTIONS = 32;
/** Of a measurement's milliseconds, so that 99.9 of 100 are more than a few. */
const LENGTH = 3;
const PEERS: readonly SubjectName[] = ['envoy', 'nginx', 'haproxy'];

/** How long does an answer take at a fixed rate, counted from when its request was due? */
export async function askLatency(job: Job, measuring: Measuring): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const work of [HTTP1, HTTP2, GRPC]) rows.push(...(await askWork(job, work, measuring)));
  return rows;
}

async function askWork(job: Job, work: Work, measuring: Measuring): Promise<readonly Row[]> {
  const name = `${work.title}, ${RATE} requests a second on ${CONNECTIONS} connections`;
  const rounds = measuring.fewRounds;
  const results = await measureRounds(
    job.subjects
      .filter(({ port }) => port(work) !== undefined)
      .map((subject) => ({
        name: subject.name,
        measure: () => measureLatency(job, subject, work, measuring),
      })),
    rounds,
    (round, subject) => {
      measuring.note(`${job.name}, ${name}: round ${round + 1} of ${rounds}, ${subject}`);
    },
  );
  return ['p50', 'p99', 'p999'].map((which) =>
    makeRow({
      metric: `${job.name}, latency, ${which.replace('999', '99.9')}, ${name}`,
      ...{ unit: 'us', better: 'lower', ...sides(results, `${which}Us`, PEERS, 'lower') },
    }),
  );
}

async function measureLatency(
  job: Job,
  subject: Subject,
  work: Work,
  { ms }: Measuring,
): Promise<Record<string, number>> {
  const { p50Us, p99Us, p999Us, errors } = await job.askAtRate({
    ...{ host: '127.0.0.1', port: subject.port(work) ?? 0, version: work.from, call: work.call },
    ...{ path: SMALL.paths[work.call], connections: CONNECTIONS, rate: RATE },
    count: Math.round((ms * LENGTH * RATE) / 1000),
  });
  if (errors > 0) throw new Error(`Cannot measure latency: ${errors} requests failed`);
  return { p50Us, p99Us, p999Us };
}
