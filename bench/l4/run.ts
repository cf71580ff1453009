import { describeError } from '../../base/errors.ts';
import type { Row } from '../harness/rows.ts';
import { LOAD_PORTS } from '../load/protocol.ts';
import { haproxy } from '../peers/haproxy.ts';
import { nginx } from '../peers/nginx.ts';
import { ProxyPair, type PairPlan, type ProxyKind } from '../peers/proxy-pair.ts';
import type { Context, Question } from './context.ts';
import { Rig } from './rig.ts';

export const PEERS: readonly ProxyKind[] = [nginx, haproxy];

export type L4Settings = Readonly<Pick<Context, 'rounds' | 'ms' | 'warmMs' | 'note'>> &
  Readonly<{
    questions: readonly Question[];
    /** Of the ztunnels, such as ZTUNNEL_WORKER_THREADS. */
    environment: Readonly<Record<string, string>>;
    /** Told after each question what there is so far. */
    onAnswer(outcome: L4Outcome): void;
  }>;

export type L4Outcome = Readonly<{
  rows: readonly Row[];
  failures: readonly Readonly<{ question: string; error: string }>[];
}>;

/**
 * Asks all questions, one after another, in one sandbox: the peers' processes run beside ours all the time, and idle
 * while they are not asked. A question that fails is told and does not keep the others from being asked.
 */
export async function runL4(settings: L4Settings): Promise<L4Outcome> {
  const { questions, environment, onAnswer, ...measuring } = settings;
  measuring.note('starting the mesh');
  await using rig = await Rig.start(environment);
  await using stack = new AsyncDisposableStack();
  const plan: PairPlan = { serverIp: rig.ip('plain-server'), ports: LOAD_PORTS };
  const enter = {
    client: (command: readonly string[]) => rig.enter('plain-client', command),
    server: (command: readonly string[]) => rig.enter('plain-server', command),
  };
  const peers: ProxyPair[] = [];
  for (const kind of PEERS) peers.push(stack.use(await ProxyPair.start(kind, plan, enter)));
  const context: Context = { rig, peers, ...measuring };
  const rows: Row[] = [];
  const failures: { question: string; error: string }[] = [];
  for (const question of questions) {
    try {
      rows.push(...(await question.ask(context)));
    } catch (error) {
      const [first = ''] = describeError(error).split('\n');
      measuring.note(`${question.name} failed: ${first}`);
      failures.push({ question: question.name, error: first });
    }
    onAnswer({ rows, failures });
  }
  return { rows, failures };
}
