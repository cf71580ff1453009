import { measureRounds, valuesOf, type RoundResults } from '../harness/rounds.ts';
import { bestPeer, makeRow, type Budget, type Row, type RowParts } from '../harness/rows.ts';
import { warmUp } from '../harness/warm-up.ts';
import type { Job, Measuring, Subject } from './job.ts';
import { measure } from './measure.ts';
import { BODIES, HTTP1, HTTP2_TO_HTTP1, type Body, type Work } from './works.ts';

export type SubjectName = Subject['name'];

/** One row of every load. Goals are those of HTTP/1.1. */
type CostRow = Readonly<{
  value: 'cpuUs' | 'perCpuSecond' | 'perSecond' | 'privateMb';
  metric: string;
  unit: string;
  better: 'higher' | 'lower';
  /** Of these the better one is compared with. */
  peers: readonly SubjectName[];
  goal?: Readonly<{ name: string; budget: Budget }>;
}>;

const PROXIES: readonly SubjectName[] = ['nginx', 'haproxy', 'envoy'];
const RATE = { value: 'perSecond', unit: '1/s', better: 'higher' } as const;
const MEMORY = { value: 'privateMb', unit: 'MB', better: 'lower' } as const;
const EFFICIENCY = { value: 'perCpuSecond', unit: '1/s', better: 'higher' } as const;

const ROWS: Readonly<Record<Job['name'], readonly CostRow[]>> = {
  waypoint: [
    {
      ...{ value: 'cpuUs', metric: 'processor time of a request in a waypoint', unit: 'us' },
      ...{ better: 'lower', peers: ['envoy'] },
      // Design, perf-W1: processor time against Envoy doing the same.
      goal: { name: 'perf-W1', budget: { must: 1.2, aim: 0.8 } },
    },
    { metric: 'waypoint, rate', ...RATE, peers: ['envoy'] },
    { metric: 'waypoint, private memory', ...MEMORY, peers: ['envoy'] },
  ],
  proxy: [
    {
      ...{ metric: 'requests per CPU second', ...EFFICIENCY, peers: ['nginx', 'haproxy'] },
      // Design, perf-W2.
      goal: { name: 'perf-W2', budget: { must: 0.8, aim: 1.1 } },
    },
    { metric: 'requests per CPU second against Envoy', ...EFFICIENCY, peers: ['envoy'] },
    { metric: 'proxy, rate', ...RATE, peers: PROXIES },
    { metric: 'proxy, private memory', ...MEMORY, peers: PROXIES },
  ],
};

const WARM_UP = { warmMs: 0, ms: 1000 } as const;
const WARM_UP_CONNECTIONS = 32;

/** What does a request cost, by the number of connections and the size of the body? */
export async function askCost(
  job: Job,
  work: Work,
  measuring: Measuring,
  onRows: (rows: readonly Row[]) => void,
): Promise<readonly Row[]> {
  const able = job.subjects.filter(({ port }) => port(work) !== undefined);
  for (const subject of able)
    for (const { paths } of BODIES) {
      const asked = { work, path: paths[work.call], connections: WARM_UP_CONNECTIONS };
      await warmUp(async () => {
        measuring.note(`${job.name}, ${work.title}: warming up ${subject.name}`);
        return (await measure(job, subject, asked, WARM_UP))['cpuUs'] ?? 0;
      });
    }
  const rows: Row[] = [];
  for (const body of BODIES)
    for (const connections of connectionsFor(work, measuring)) {
      const results = await measureLoad(job, able, { work, body, connections }, measuring);
      rows.push(...rowsOf(job, { work, body, connections }, results));
      onRows(rows);
    }
  return rows;
}

type Load = Readonly<{ work: Work; body: Body; connections: number }>;

/** From one version to the other costs hardly less or more than what is measured already: one of the numbers does. */
function connectionsFor(work: Work, { connections }: Measuring): readonly number[] {
  return work === HTTP2_TO_HTTP1
    ? connections.slice(connections.length >> 1).slice(0, 1)
    : connections;
}

async function measureLoad(
  job: Job,
  subjects: readonly Subject[],
  load: Load,
  measuring: Measuring,
): Promise<RoundResults<SubjectName>> {
  const { work, body, connections } = load;
  const rounds = work === HTTP1 ? measuring.rounds : measuring.fewRounds;
  const asked = { work, path: body.paths[work.call], connections };
  return await measureRounds(
    subjects.map((subject) => ({
      name: subject.name,
      measure: () => measure(job, subject, asked, measuring),
    })),
    rounds,
    (round, subject) => {
      measuring.note(`${job.name}, ${nameOf(load)}: round ${round + 1} of ${rounds}, ${subject}`);
    },
  );
}

function nameOf({ work, body, connections }: Load): string {
  const plural = connections === 1 ? '' : 's';
  return `${work.title}, ${connections} connection${plural}, ${body.name} body`;
}

function rowsOf(job: Job, load: Load, results: RoundResults<SubjectName>): Row[] {
  return ROWS[job.name].map(({ value, metric, goal, peers, ...plan }) => {
    const judged = load.work === HTTP1 ? goal : undefined;
    return makeRow({
      metric: `${judged === undefined ? '' : `${judged.name} `}${metric}, ${nameOf(load)}`,
      ...{ ...plan, ...sides(results, value, peers, plan.better) },
      ...(judged !== undefined && { budget: judged.budget }),
    });
  });
}

/** Ours, and the best of the peers that were measured. */
export function sides(
  results: RoundResults<SubjectName>,
  value: string,
  peers: readonly SubjectName[],
  better: RowParts['better'],
): Pick<RowParts, 'ours' | 'peer'> {
  const measured = peers.map((name) => ({ name, values: valuesOf(results, name, value) }));
  return { ours: valuesOf(results, 'halo', value), peer: bestPeer(measured, better) };
}
