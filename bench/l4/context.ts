import type { Row } from '../harness/rows.ts';
import type { ProxyPair } from '../peers/proxy-pair.ts';
import type { Rig } from './rig.ts';

/** What a question is asked with. */
export type Context = Readonly<{
  rig: Rig;
  peers: readonly ProxyPair[];
  rounds: number;
  /** Of one measurement, in milliseconds; and before it, until everything has got going. */
  ms: number;
  warmMs: number;
  /** Tells the person who waits. */
  note(text: string): void;
}>;

/** One question of the benchmark. */
export type Question = Readonly<{
  name: string;
  ask(context: Context): Promise<readonly Row[]>;
}>;
