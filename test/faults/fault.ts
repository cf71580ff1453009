import type { FaultPlace } from './place.ts';

/** Where the ends of a connection are. */
export const TOPOLOGIES = ['one node', 'two nodes', 'to the outside', 'from the outside'] as const;
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
  begin: (place: FaultPlace) => Promise<ActiveFault>;
  /** What the loads call wrong and is the fault's own doing, not the mesh's. */
  explains?: RegExp;
  /** Where recovery is more than that connections succeed: resolves when it has happened. */
  recovered?: (place: FaultPlace) => Promise<void>;
}>;

/** Undoes several faults, the last one first, whatever becomes of one of them. */
export function joined(faults: readonly ActiveFault[]): ActiveFault {
  const how = faults.find((fault) => fault.how !== undefined)?.how;
  return {
    ...(how !== undefined && { how }),
    end: async () => {
      const ended = await Promise.allSettled([...faults].reverse().map((fault) => fault.end()));
      for (const one of ended) if (one.status === 'rejected') throw one.reason;
    },
  };
}

/** A fault that is undone once, however often it is asked. */
export function undoneBy(undo: () => Promise<void>, how?: string): ActiveFault {
  let undoing: Promise<void> | undefined;
  return { ...(how !== undefined && { how }), end: () => (undoing ??= undo()) };
}
