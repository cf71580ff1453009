import type { Latencies, LoadOperations } from '../load/protocol.ts';
import type { Work } from './works.ts';

/** Who does a job: ours or a peer. */
export type Subject = Readonly<{
  name: 'halo' | 'envoy' | 'nginx' | 'haproxy';
  /** Its processes; threads that watch included. */
  pids: readonly number[];
  /** Where it takes requests of a kind, on the client's loopback; none where it cannot do the same work. */
  port(work: Work): number | undefined;
}>;

/** What is done by all subjects between the same load and the same server, which run all the time: who is not asked is idle. */
export type Job = Readonly<{
  /** Of the rows. */
  name: 'waypoint' | 'proxy';
  subjects: readonly Subject[];
  /** Who of those that others would look for does not do it, or not all of it, and why: a line each. */
  notCompared: readonly string[];
  /** Holds the message of a gRPC call. */
  messageFile: string;
  /** Makes a command run where the load comes from. */
  enter(command: readonly string[]): readonly string[];
  /** Before a measurement with so many connections: sees to it that who runs where is no luck. */
  place?(connections: number): Promise<void>;
  /** How many requests the server behind has answered so far. */
  requests(): Promise<number>;
  /** Requests at a fixed rate, from a load client that runs where the load comes from. */
  askAtRate(ask: LoadOperations['requests']['ask']): Promise<Latencies>;
}>;

export type Measuring = Readonly<{
  /** Of rows with a goal, and of those without. */
  rounds: number;
  fewRounds: number;
  /** Of one measurement; and before it, until everything has got going. */
  ms: number;
  warmMs: number;
  connections: readonly number[];
  note(text: string): void;
}>;
