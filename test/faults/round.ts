import { setTimeout as delay } from 'node:timers/promises';
import { withDeadline } from '../support/deadline.ts';
import { monotonicMs } from '../support/tagged-bytes.ts';
import { TOPOLOGIES, type Fault, type Topology } from './fault.ts';
import { loadsOf, type LoadReports, type Loads, type TopologyReport } from './loads.ts';

/** The requirement: from the fault's end until a new connection of every load has been answered in full. */
export const RECOVERY_MS = 1_000;
/** For the loads to run everywhere, after whatever was before. */
const WARM_TIMEOUT_MS = 10_000;
const WARM_MS = 300;
/** How long one looks for a recovery that comes too late, so that the report says how late. */
const LATE_MS = 10_000;
/** Connections tell themselves when they were answered; to ask every one of the programs for it takes processor time. */
const POLL_MS = 200;
/** After the recovery: what is wrong with connections of before may come a little later. */
const AFTER_MS = 200;

/** One fault in one topology. */
export type CellReport = Readonly<{
  /** Connections answered in full, and ended with a clean error. */
  complete: number;
  errors: Readonly<Record<string, number>>;
  /** `undefined`: not within LATE_MS. */
  recoveryMs: number | undefined;
  /** In words, with the load that took longest. */
  recovery: string;
  /** What must never be. */
  wrong: readonly string[];
}>;

export type RoundReport = Readonly<{
  fault: string;
  how?: string;
  beganMs: number;
  endedMs: number;
  cells: ReadonlyMap<Topology, CellReport>;
}>;

/** Lets one fault happen while the loads of several topologies run, and tells what each of them met. */
export async function runRound(
  loads: Loads,
  fault: Fault,
  onReports: (reports: LoadReports) => void = () => undefined,
): Promise<RoundReport> {
  const sum = new Sum();
  const look = async (): Promise<void> => {
    const reports = await loads.take();
    sum.add(reports);
    onReports(reports);
  };
  await look();
  const readyMs = monotonicMs();
  const { topologies } = loads;
  await until(look, WARM_TIMEOUT_MS, () => sum.recovered(topologies, readyMs));
  const missing = topologies.filter((topology) => !sum.recovered([topology], readyMs));
  if (missing.length > 0) throw new Error(`no load ${missing.join(', ')} before: ${fault.name}`);
  await delay(WARM_MS);
  await look();

  sum.reset(); // the cell begins; what is wrong stays
  const beganMs = monotonicMs();
  const active = await fault.begin(loads.place);
  try {
    await delay(fault.holdMs);
  } finally {
    await active.end();
  }
  const endedMs = monotonicMs();
  await loads.resume();
  const touched = topologies.filter((topology) => fault.spares[topology] === undefined);
  const recovering = fault.recovered?.(loads.place);
  await until(look, LATE_MS, () => sum.recovered(touched, endedMs));
  if (recovering !== undefined)
    await withDeadline(recovering, RECOVERY_MS, `recovered after: ${fault.name}`);
  await delay(AFTER_MS);
  await look();

  const cells = touched.map((topology): [Topology, CellReport] => [
    topology,
    cellOf(topology, sum.of(topology), endedMs, fault.explains),
  ]);
  const { how } = active;
  return {
    ...{ fault: fault.name, beganMs, endedMs, cells: new Map(cells) },
    ...(how !== undefined && { how }),
  };
}

function cellOf(
  topology: Topology,
  report: Pick<TopologyReport, 'complete' | 'errors' | 'wrong'>,
  endedMs: number,
  explains: RegExp | undefined,
): CellReport {
  const errors: Record<string, number> = {};
  for (const { how } of report.errors) errors[how] = (errors[how] ?? 0) + 1;
  const last = lastAnswered(topology, report.complete, endedMs);
  const recoveryMs = last === undefined ? undefined : Math.max(0, last.endedMs - endedMs);
  const ms = (time: number): string => (time - endedMs).toFixed(0);
  return {
    ...{ complete: report.complete.length, errors, recoveryMs },
    recovery:
      last === undefined
        ? 'not recovered'
        : `recovered after ${ms(last.endedMs)} ms (${last.load}, begun after ${ms(last.beganMs)} ms)`,
    wrong: report.wrong.filter((text) => explains?.test(text) !== true),
  };
}

type Complete = TopologyReport['complete'][number];

/**
 * Of the first connections that began after a time and were answered in full, one of each load, the one that was answered last;
 * `undefined` until every load of the topology has one.
 */
function lastAnswered(
  topology: Topology,
  complete: readonly Complete[],
  sinceMs: number,
): Complete | undefined {
  const later = complete.filter(({ beganMs }) => beganMs >= sinceMs);
  const firsts = loadsOf(topology).map((load) =>
    later.filter((one) => one.load === load).reduce(sooner, undefined),
  );
  let last: Complete | undefined;
  for (const first of firsts) {
    if (first === undefined) return undefined;
    if (last === undefined || first.endedMs > last.endedMs) last = first;
  }
  return last;
}

function sooner(one: Complete | undefined, other: Complete): Complete {
  return one === undefined || other.endedMs < one.endedMs ? other : one;
}

async function until(
  look: () => Promise<void>,
  timeoutMs: number,
  condition: () => boolean,
): Promise<void> {
  const deadlineMs = performance.now() + timeoutMs;
  for (;;) {
    await look();
    if (condition() || performance.now() > deadlineMs) return;
    await delay(POLL_MS);
  }
}

/** What several looks at the loads have shown together. */
class Sum {
  readonly #of = new Map(
    TOPOLOGIES.map((topology) => [
      topology,
      {
        complete: [] as TopologyReport['complete'],
        errors: [] as TopologyReport['errors'],
        wrong: [] as string[],
      },
    ]),
  );

  add(reports: LoadReports): void {
    for (const [topology, { complete, errors, wrong }] of reports) {
      const sum = this.of(topology);
      sum.complete.push(...complete);
      sum.errors.push(...errors);
      sum.wrong.push(...wrong);
    }
  }

  of(topology: Topology): Pick<TopologyReport, 'complete' | 'errors' | 'wrong'> {
    return this.#of.get(topology) ?? { complete: [], errors: [], wrong: [] };
  }

  recovered(topologies: readonly Topology[], sinceMs: number): boolean {
    return topologies.every(
      (topology) => lastAnswered(topology, this.of(topology).complete, sinceMs) !== undefined,
    );
  }

  reset(): void {
    for (const sum of this.#of.values()) {
      sum.complete.length = 0;
      sum.errors.length = 0;
    }
  }
}
