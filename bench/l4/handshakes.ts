import { processorTimeUs } from '../harness/processes.ts';
import { measureRounds, valuesOf } from '../harness/rounds.ts';
import { makeRow } from '../harness/rows.ts';
import { clientCertificate, serverProxy } from './certificate.ts';
import type { Question } from './context.ts';

/** Design, perf-L6, in milliseconds. The bare handshake takes 0.49 and 0.57. */
const SERVER_BUDGET = { must: 0.75, aim: 0.55 };
const CLIENT_BUDGET = { must: 0.85, aim: 0.65 };
const PARALLEL = 4;
const WARM = 200;
/** Of a measurement's milliseconds: about as many as one core can take, client and server on different ones. */
const SESSIONS_PER_MS = 0.5;
const GROUPS = ['X25519', 'X25519MLKEM768'] as const;

/**
 * What does a new mTLS session cost each side? One request is made on each and refused, so that every session is
 * complete. The client is a process that does as ztunnel does; the server is ztunnel itself.
 */
export const handshakes: Question = {
  name: 'handshakes',
  async ask({ rig, rounds, ms, note }) {
    const client = rig.client('outside');
    const certificate = await clientCertificate(rig);
    const pids = [await rig.ztunnelPid('node-2')];
    const count = Math.max(50, Math.round(ms * SESSIONS_PER_MS));
    const subjects = GROUPS.map((groups) => ({
      name: groups,
      measure: async () => {
        const ask = { ...serverProxy(rig), certificate, groups, parallel: PARALLEL };
        await client.ask('handshakes', { ...ask, warm: 0, count: WARM });
        const before = processorTimeUs(pids);
        const answer = await client.ask('handshakes', { ...ask, warm: 0, count });
        const server = processorTimeUs(pids) - before;
        return {
          server: server / count / 1000,
          client: answer.processorUs / count / 1000,
          perSecond: (count * 1000) / answer.ms,
        };
      },
    }));
    const results = await measureRounds(subjects, rounds, (round, groups) => {
      note(`handshakes: round ${round + 1} of ${rounds}, ${groups}`);
    });
    return GROUPS.flatMap((groups) => {
      const budgeted = groups === 'X25519';
      const name = `${budgeted ? 'perf-L6 ' : ''}new session, ${groups}`;
      const value = (which: string): readonly number[] => valuesOf(results, groups, which);
      return [
        makeRow({
          ...{ metric: `${name}, server side`, unit: 'ms', better: 'lower' },
          ...{ ours: value('server'), ...(budgeted && { budget: SERVER_BUDGET }) },
        }),
        makeRow({
          ...{ metric: `${name}, client side`, unit: 'ms', better: 'lower' },
          ...{ ours: value('client'), ...(budgeted && { budget: CLIENT_BUDGET }) },
        }),
        makeRow({
          ...{ metric: `new sessions a second, ${groups}`, unit: '1/s', better: 'higher' },
          ours: value('perSecond'),
        }),
      ];
    });
  },
};
