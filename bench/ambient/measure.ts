import { setTimeout as wait } from 'node:timers/promises';
import { nodeMemory, processorTimeUs, sentBytes } from '../harness/processes.ts';
import { median } from '../harness/statistics.ts';
import { warmUp } from '../harness/warm-up.ts';
import type { LoadOperations } from '../load/protocol.ts';
import { lateName, requestPath, type Body } from './application.ts';
import { CALLS_PER_REQUEST } from './call-graph.ts';
import { checkSecurity, type Security } from './check-security.ts';
import type { Deployment, NodeProcesses } from './deployment.ts';

const MB = 1 << 20;
/** Answers that take longer in all than the requests did, by more than this: the rate was not held, they wait in a queue. */
const MAX_LATE_PART = 0.01;
const MAX_LATE_SECONDS = 0.25;
/** With ten calls a second in each of a hundred processes, compiling takes its time. */
const MOST_WARM_MS = 90_000;
const TRY_MS = 1000;
/** Each try is so much faster than the last, and takes so long. */
const HIGHEST = { step: 1.25, seconds: 4 } as const;
const EVENT_TIMEOUT_MS = 60_000;
/** Between two tries of a pod that starts: right to some milliseconds, and cheap. */
const START_PAUSE_MS = 2;
/** Between two pods, so that what each makes others do is over: with none, the next one begins when that is busiest. */
const BETWEEN_STARTS_MS = 500;
/** About 1,500 requests a second, so that each replica is asked every few tens of milliseconds. */
const CHANGE_PROBES = { parallel: 8, pauseMs: 4, quietMs: 1000 } as const;
/** Before a change: until every service has been asked and served. */
const BEFORE_CHANGE_MS = 500;

/** A load beside the one that everything else is measured with. */
export type ExtraLoad = Readonly<{
  /** Before the names of its values: `large.p99Us`. */
  name: string;
  callsPerSecond?: number;
  body?: Body;
  /** 0: a new one for each request. */
  connections?: number;
}>;

export type LoadPlan = Readonly<{
  /** Calls between pods a second, all together. */
  callsPerSecond: number;
  /** Of a warm-up; the first load's is repeated until another one brings nothing, see warmUp(). */
  warmSeconds: number;
  seconds: number;
  connections: number;
  body?: Body;
  /** How much later than the last request was due the last answer may come; a quarter of a second unless told otherwise. */
  maxLateSeconds?: number;
}>;

export type MeasurePlan = Readonly<{
  load: LoadPlan;
  podStarts: number;
  changes: number;
  extraLoads?: readonly ExtraLoad[];
  /** Whether the highest rate that is held is looked for. */
  highest?: boolean;
}>;

/** What one repetition of one mode gave. */
export type Sample = Readonly<{
  security: Security;
  /** By metric. NaN: there is nothing of the kind in this mode. */
  values: Readonly<Record<string, number>>;
  /** Latencies of the load, see Histogram.buckets(). */
  histogram: readonly (readonly [us: number, count: number])[];
  /** Of each pod that was started, each that was taken into the mesh and each change. */
  raw: Readonly<{ podStartMs: number[]; enrolmentMs: number[]; changeMs: number[] }>;
}>;

/**
 * Everything that is measured of a mode, in this order: memory after start, security, load, memory after it, then what
 * happens beside the load: pods, enrolment, changes.
 *
 * @throws {Error} when a request failed or the rate was not reached: then there is nothing to compare.
 */
export async function measure(
  deployment: Deployment,
  plan: MeasurePlan,
  note: (text: string) => void,
): Promise<Sample> {
  const { mode } = deployment.options;
  const startMemory = memoryOf(await deployment.dataPlane());
  note(`${mode.name}: looking whether it encrypts and authorises`);
  const security = await checkSecurity(deployment);
  note(`${mode.name}: load`);
  const load = await measureLoad(deployment, plan.load, MOST_WARM_MS);
  const dataPlane = await deployment.dataPlane();
  const memory = memoryOf(dataPlane);
  const control = memoryOf(await deployment.controlPlane());
  const extra: Record<string, number> = {};
  for (const { name, ...change } of plan.extraLoads ?? []) {
    note(`${mode.name}: load, ${name}`);
    const { values } = await measureLoad(deployment, { ...plan.load, ...change });
    for (const [value, number] of Object.entries(values)) extra[`${name}.${value}`] = number;
  }
  if (plan.highest === true) {
    note(`${mode.name}: the highest rate`);
    extra['highest.callsPerSecond'] = await findHighestRate(deployment, plan.load);
  }
  note(`${mode.name}: pods that start`);
  const podStartMs = await measurePodStarts(deployment, plan.podStarts);
  const meshed = mode.proxies !== 'none';
  if (meshed) note(`${mode.name}: pods that are taken in, and changes`);
  const enrolmentMs = meshed ? await measureEnrolment(deployment, plan.podStarts) : [];
  const changeMs = meshed ? await measureChanges(deployment, plan.changes) : [];
  const { pods } = deployment;
  return {
    security,
    histogram: load.histogram,
    raw: { podStartMs, enrolmentMs, changeMs },
    values: {
      pods,
      processes: dataPlane.reduce((sum, { pids }) => sum + pids.length, 0),
      startMemoryMb: startMemory.asOwnMachine / MB,
      memoryMb: memory.asOwnMachine / MB,
      proportionalMb: memory.proportional / MB,
      memoryPerNodeMb: memory.asOwnMachine / MB / deployment.options.nodes,
      memoryPerPodMb: memory.asOwnMachine / MB / pods,
      controlMemoryMb: control.asOwnMachine / MB,
      ...load.values,
      ...extra,
      podStartMs: median(podStartMs),
      enrolmentMs: median(enrolmentMs),
      changeMs: median(changeMs),
    },
  };
}

/**
 * Requests at a fixed rate over every path, and what the proxies used meanwhile.
 *
 * @param mostWarmMs how long warm-ups are repeated for; there is one at least.
 */
async function measureLoad(
  deployment: Deployment,
  plan: LoadPlan,
  mostWarmMs = 0,
): Promise<Readonly<{ values: Record<string, number>; histogram: Sample['histogram'] }>> {
  const { callsPerSecond, warmSeconds, seconds, connections, body } = plan;
  const { maxLateSeconds = MAX_LATE_SECONDS } = plan;
  const { graph, mode } = deployment.options;
  const rate = callsPerSecond / CALLS_PER_REQUEST;
  const targets = graph.paths.map((path) => deployment.target(path[0], requestPath(path, body)));
  const run = (forSeconds: number): Promise<LoadOperations['httpLoad']['answer']> =>
    deployment.load.ask('httpLoad', {
      ...{ targets, connections, rate, count: Math.round(rate * forSeconds) },
    });
  const pids = (await deployment.dataPlane()).flatMap((node) => node.pids);
  await warmUp(async () => {
    const beforeUs = processorTimeUs(pids);
    const { count: requests } = await run(warmSeconds);
    return (processorTimeUs(pids) - beforeUs) / requests;
  }, mostWarmMs);
  const control = (await deployment.controlPlane()).flatMap((node) => node.pids);
  const pods = await deployment.podProcesses();
  const sent = (): number => pods.reduce((sum, pid) => sum + sentBytes(pid), 0);
  const count = (): { cpuUs: number; controlUs: number; bytes: number } => ({
    cpuUs: processorTimeUs(pids),
    controlUs: processorTimeUs(control),
    bytes: sent(),
  });
  const before = count();
  const answer = await run(seconds);
  const after = count();
  if (answer.errors > 0)
    throw new Error(
      `Cannot measure ${mode.name}: ${answer.errors} requests failed: ${answer.firstError}`,
    );
  const dueSeconds = answer.count / rate;
  const tookSeconds = answer.count / answer.perSecond;
  if (tookSeconds > dueSeconds * (1 + MAX_LATE_PART) + maxLateSeconds)
    throw new Error(
      `Cannot measure ${mode.name}: ${answer.perSecond.toFixed(0)} of ${rate.toFixed(0)} requests a second`,
    );
  const calls = answer.count * CALLS_PER_REQUEST;
  const { p50Us, p90Us, p99Us, p999Us, maxUs } = answer;
  return {
    histogram: answer.histogram,
    values: {
      ...{
        p50Us,
        p90Us,
        p99Us,
        p999Us,
        maxUs,
        callsPerSecond: answer.perSecond * CALLS_PER_REQUEST,
      },
      cpuUsPerCall: (after.cpuUs - before.cpuUs) / calls,
      controlCpuMs: (after.controlUs - before.controlUs) / 1000,
      bytesPerCall: (after.bytes - before.bytes) / calls,
    },
  };
}

/**
 * Calls a second that are still held, step by step upwards.
 *
 * @throws {Error} when not even the rate of the load is: by then it was.
 */
async function findHighestRate(deployment: Deployment, load: LoadPlan): Promise<number> {
  let held = 0;
  for (let callsPerSecond = load.callsPerSecond; ; callsPerSecond *= HIGHEST.step) {
    const plan = { ...load, callsPerSecond, warmSeconds: 1, seconds: HIGHEST.seconds };
    try {
      const { values } = await measureLoad(deployment, plan);
      held = values['callsPerSecond'] ?? held;
    } catch (error) {
      if (held > 0) return held;
      throw error;
    }
  }
}

/** From creating a pod to the first request that it has served, by the Service in front of it. */
async function measurePodStarts(deployment: Deployment, count: number): Promise<number[]> {
  const all: number[] = [];
  for (let index = 0; index < count; index++) {
    await wait(BETWEEN_STARTS_MS);
    const served = deployment.load.ask('untilServed', {
      ...{ target: deployment.target(lateName(index)), pauseMs: START_PAUSE_MS },
      ...{ tryMs: TRY_MS, timeoutMs: EVENT_TIMEOUT_MS },
    });
    served.catch(() => undefined); // awaited below
    const atMs = await deployment.startLate(index);
    all.push((await served).servedAtMs - atMs);
  }
  return all;
}

/** From asking for a pod to be in the mesh until the first request of its own that is served as the mesh's. */
async function measureEnrolment(deployment: Deployment, count: number): Promise<number[]> {
  const front = deployment.options.graph.services[0]?.name ?? '';
  const all: number[] = [];
  for (let index = 0; index < count; index++) {
    const { atMs, netns } = await deployment.enrol(index);
    const { servedAtMs } = await deployment.outside.ask('untilServed', {
      ...{ target: deployment.target(front), namespace: netns, pauseMs: START_PAUSE_MS },
      ...{ tryMs: TRY_MS, timeoutMs: EVENT_TIMEOUT_MS },
    });
    all.push(servedAtMs - atMs);
  }
  return all;
}

/** From a change of policy to the last request that any pod answered against it. */
async function measureChanges(deployment: Deployment, count: number): Promise<number[]> {
  const targets = deployment.options.graph.services.map(({ name }) => deployment.target(name));
  const all: number[] = [];
  for (let index = 0; index < count; index++) {
    for (const target of targets)
      await deployment.probe.ask('untilServed', {
        ...{ target, pauseMs: 10, tryMs: TRY_MS, timeoutMs: EVENT_TIMEOUT_MS },
      });
    const refused = deployment.probe.ask('untilRefused', {
      ...{ ...CHANGE_PROBES, targets, tryMs: TRY_MS, timeoutMs: EVENT_TIMEOUT_MS },
    });
    refused.catch(() => undefined); // awaited below
    await wait(BEFORE_CHANGE_MS);
    const atMs = await deployment.denyProbe(true);
    all.push(Math.max(0, (await refused).lastServedAtMs - atMs));
    await deployment.denyProbe(false);
  }
  return all;
}

function memoryOf(nodes: readonly NodeProcesses[]): ReturnType<typeof nodeMemory> {
  const all = nodes.map(({ pids }) => nodeMemory(pids));
  return {
    proportional: all.reduce((sum, node) => sum + node.proportional, 0),
    asOwnMachine: all.reduce((sum, node) => sum + node.asOwnMachine, 0),
  };
}
