import { bulk } from './bulk.ts';
import { connections } from './connections.ts';
import type { Question } from './context.ts';
import { fairness } from './fairness.ts';
import { handshakes } from './handshakes.ts';
import { latency } from './latency.ts';
import { memory } from './memory.ts';
import { podsAdded } from './pods-added.ts';
import { certificates, changes, policyEvaluation } from './programs.ts';
import { requests } from './requests.ts';
import { start } from './start.ts';
import { state } from './state.ts';

/** All of the benchmark, in the order of a run: what others are compared with first, while the proxies are fresh. */
export const QUESTIONS: readonly Question[] = [
  bulk,
  requests,
  latency,
  connections,
  handshakes,
  fairness,
  memory,
  podsAdded,
  start,
  state,
  policyEvaluation,
  certificates,
  changes,
];
