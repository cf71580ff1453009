import { join } from 'node:path';
import { runChild } from '../harness/child.ts';
import { makeRow } from '../harness/rows.ts';
import type { Question } from './context.ts';

const FOLDER = join(import.meta.dirname, '..');
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning', '--expose-gc'];

/** Another benchmark of this folder, in a process of its own; what it prints as JSON. */
async function runProgram(name: string): Promise<unknown> {
  return JSON.parse(await runChild([...NODE, join(FOLDER, name), '--json'])) as unknown;
}

/** An authorization decision among 10,000 policies. Design, perf-L7. */
export const policyEvaluation: Question = {
  name: 'policy-evaluation',
  async ask({ rounds, note }) {
    const worst: number[] = [];
    const medians: number[] = [];
    for (let round = 0; round < rounds; round++) {
      note(`policy evaluation: round ${round + 1} of ${rounds}`);
      const found = (await runProgram('authorize.ts')) as { worstUs: number; medianUs: number };
      worst.push(found.worstUs);
      medians.push(found.medianUs);
    }
    const plan = { unit: 'us', better: 'lower' } as const;
    return [
      makeRow({
        ...{ metric: 'perf-L7 decision, worst connection, 10,000 policies', ...plan, ours: worst },
        budget: { must: 20, aim: 5 },
      }),
      makeRow({ metric: 'decision, median connection, 10,000 policies', ...plan, ours: medians }),
    ];
  },
};

/** Certificates a second on one core. Design, perf-C2. */
export const certificates: Question = {
  name: 'certificates',
  async ask({ note }) {
    note('certificates');
    const { perSecond } = (await runProgram('certificates.ts')) as { perSecond: number[] };
    return [
      makeRow({
        ...{ metric: 'perf-C2 certificates issued', unit: '1/s', better: 'higher' },
        ...{ ours: perSecond, budget: { must: 500, aim: 1200 } },
      }),
    ];
  },
};

/** A change of one endpoint to the last of 200 proxies. Design, perf-C1. */
export const changes: Question = {
  name: 'changes',
  async ask({ note }) {
    note('changes: 200 proxies, 10,000 workloads');
    const text = await runChild([...NODE, join(FOLDER, 'xds-fanout.ts')]);
    const p99 = Number(/, p99\s+([\d.]+) ms/.exec(text)?.[1] ?? NaN);
    return [
      makeRow({
        ...{ metric: 'perf-C1 endpoint changed, to the last of 200 proxies, p99', unit: 'ms' },
        ...{ better: 'lower', ours: [p99], budget: { must: 250, aim: 50 } },
      }),
    ];
  },
};
