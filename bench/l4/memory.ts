import { setTimeout as wait } from 'node:timers/promises';
import { processMemory } from '../harness/processes.ts';
import { makeRow, type Row } from '../harness/rows.ts';
import { ECHO_PORT } from '../load/protocol.ts';
import { clientCertificate, serverProxy } from './certificate.ts';
import type { Context, Question } from './context.ts';
import { routesOf } from './routes.ts';
import { runAlone } from './ztunnel-alone.ts';

const MB = 1e6;
const KIB = 1024;
/** As few starts of a full state as give a median. */
const STARTS = 3;
/** So many that what V8 has not collected yet, some megabytes, is little for each of them. */
const HELD_CONNECTIONS = 8000;
/** Of these one client is let have 1,024. */
const HELD_SESSIONS = 500;
/** That part is held before: a fresh process compiles for it, and its heap takes its first pages. */
const WARM_PART = 1 / 4;
/** Until what opening them took is collected. */
const SETTLE_MS = 3000;

/** What does a ztunnel need, and what a connection and a session? Design, perf-M1 and perf-M2. */
export const memory: Question = {
  name: 'memory',
  async ask(context) {
    return [...(await askState(context)), ...(await askHeld(context))];
  },
};

async function askState({ note }: Context): Promise<Row[]> {
  note('memory: 1,000 services and 10,000 workloads');
  const task = { workloads: 10_000, services: 1_000, starts: STARTS, memory: true };
  const found = (await runAlone(task)).memory;
  const plan = { unit: 'MB', better: 'lower' } as const;
  return [
    makeRow({
      ...{ metric: 'perf-M1 memory, resident', ...plan, budget: { must: 160, aim: 120 } },
      ours: found.map(({ resident }) => resident / MB),
    }),
    makeRow({
      ...{ metric: 'perf-M1 memory, private and written', ...plan, budget: { must: 100, aim: 60 } },
      ours: found.map(({ privateDirty }) => privateDirty / MB),
    }),
  ];
}

/** The difference that many of them make, for each. */
async function askHeld(context: Context): Promise<Row[]> {
  const { rig, note } = context;
  const [route] = routesOf(context, ['halo']);
  if (route === undefined) return [];
  note(`memory: ${HELD_CONNECTIONS} idle connections`);
  const client = route.client();
  const pids = await rig.ztunnelPids();
  const perConnection = await grown(
    pids,
    HELD_CONNECTIONS,
    (count) => client.ask('hold', { ...route.to(ECHO_PORT), count }),
    () => client.ask('release', {}),
  );
  note(`memory: ${HELD_SESSIONS} idle sessions`);
  const outside = rig.client('outside');
  const certificate = await clientCertificate(rig);
  const sessions = { ...serverProxy(rig), certificate, groups: 'X25519' };
  const perSession = await grown(
    [await rig.ztunnelPid('node-2')],
    HELD_SESSIONS,
    (count) => outside.ask('holdSessions', { ...sessions, count }),
    () => outside.ask('release', {}),
  );
  const plan = { unit: 'KiB', better: 'lower' } as const;
  return [
    makeRow({
      ...{ metric: 'perf-M2 memory of an idle connection', ...plan, ours: perConnection },
      budget: { must: 8, aim: 4 },
    }),
    makeRow({
      ...{ metric: 'perf-M2 memory of a session', ...plan, ours: perSession },
      budget: { must: 48, aim: 40 },
    }),
  ];
}

/**
 * Looks at the processes before they are held and while they are.
 *
 * @returns KiB for each, of the process that grew most.
 */
async function grown(
  pids: readonly number[],
  count: number,
  hold: (count: number) => Promise<unknown>,
  release: () => Promise<unknown>,
): Promise<number[]> {
  const look = async (): Promise<number[]> => {
    await wait(SETTLE_MS);
    return pids.map((pid) => processMemory([pid]).privateDirty);
  };
  await hold(count * WARM_PART);
  const before = await look();
  await hold(count);
  const after = await look();
  await release();
  const each = after.map((bytes, index) => (bytes - (before[index] ?? 0)) / count / KIB);
  return [Math.max(...each)];
}
