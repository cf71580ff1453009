import type { FaultPlace } from './place.ts';

/** Where the ends of a connection are. */
export const L4_TOPOLOGIES = [
  'one node',
  'two nodes',
  'to the outside',
  'from the outside',
] as const;
/** With two, a program stands between them, as it would: it calls the one behind the second. */
export const WAYPOINT_TOPOLOGIES = ['one waypoint', 'two waypoints'] as const;
export const TOPOLOGIES = [...L4_TOPOLOGIES, ...WAYPOINT_TOPOLOGIES] as const;
export type Topology = (typeof TOPOLOGIES)[number];

/** A fault that has begun. */
export interface ActiveFault {
  /** What the machine let it do, where there is a choice: `cgroup cpu.max`. */
  readonly how?: string;
  /** Undoes it; resolves when it is over: what was killed runs again and is ready. Idempotent. */
  end(): Promise<void>;
}

export type Fault = Readonly<{
  /** A sentence's subject and verb, by which it is chosen: `ztunnel of node-1 is killed`. */
  name: string;
  /** Row or part of the catalogue of attacks and faults that it stands for. */
  class: string;
  /** The topologies that it does not touch, each with the reason. */
  spares: Partial<Readonly<Record<Topology, string>>>;
  /** How long it lasts. */
  holdMs: number;
  /** A part of the mesh is another process afterwards. */
  replaces?: true;
  begin: (place: FaultPlace) => Promise<ActiveFault>;
  /** Why one end of a connection may be gone without the other's knowing, which then waits in silence. */
  leavesHalfOpen?: string;
  /** What the loads call wrong and is the fault's own doing, not the mesh's. */
  explains?: RegExp;
  /** Where recovery is more than that connections succeed: resolves when it has happened. */
  recovered?: (place: FaultPlace) => Promise<void>;
}>;

/** Begins several faults at once; when one of them cannot begin, the others are undone. Undone the last one first. */
export async function together(
  begins: readonly (() => Promise<ActiveFault>)[],
): Promise<ActiveFault> {
  const outcomes = await Promise.allSettled(begins.map((begin) => begin()));
  const begun = outcomes.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  const all = joined(begun);
  for (const one of outcomes)
    if (one.status === 'rejected') {
      await all.end().catch(() => undefined); // the first failure tells more
      throw one.reason;
    }
  return all;
}

/** Begins faults one after another; when one cannot begin, those before it are undone. Undone the last one first. */
export async function inTurn(
  ...begins: readonly (() => Promise<ActiveFault> | ActiveFault)[]
): Promise<ActiveFault> {
  const begun: ActiveFault[] = [];
  try {
    for (const begin of begins) begun.push(await begin());
  } catch (error) {
    await joined(begun)
      .end()
      .catch(() => undefined); // the first failure tells more
    throw error;
  }
  return joined(begun);
}

/** The last one first, all of them whatever becomes of one. */
function joined(faults: readonly ActiveFault[]): ActiveFault {
  const how = faults.find((fault) => fault.how !== undefined)?.how;
  return undoneBy(async () => {
    let failure: { cause: unknown } | undefined;
    for (const fault of [...faults].reverse())
      try {
        await fault.end();
      } catch (error) {
        failure ??= { cause: error };
      }
    if (failure !== undefined) throw failure.cause;
  }, how);
}

/** A fault that is undone once, however often it is asked. */
export function undoneBy(undo: () => Promise<unknown>, how?: string): ActiveFault {
  let undoing: Promise<unknown> | undefined;
  return {
    ...(how !== undefined && { how }),
    end: async () => {
      await (undoing ??= undo());
    },
  };
}
