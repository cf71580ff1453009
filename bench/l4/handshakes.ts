import { runChild } from '../harness/child.ts';
import { processorTimeUs } from '../harness/processes.ts';
import { measureRounds, valuesOf } from '../harness/rounds.ts';
import { makeRow } from '../harness/rows.ts';
import { warmUp } from '../harness/warm-up.ts';
import { allClientCertificates, clientCertificate, serverProxy } from './certificate.ts';
import type { Question } from './context.ts';

/** Design, perf-L6, in milliseconds. The bare handshake takes 0.49 and 0.57. */
const SERVER_BUDGET = { must: 0.75, aim: 0.55 };
const CLIENT_BUDGET = { must: 0.85, aim: 0.65 };
const PARALLEL = 4;
/** Before each measurement. */
const WARM = 200;
/** A server lets one address begin a thousand sessions a second (mesh/proxy/handshake-admission.ts); one client can do more. */
const SOURCES = Array.from({ length: 8 }, (_, index) => `172.18.200.${index + 1}`);
/** Of a measurement's milliseconds: about as many as one core can take, client and server on different ones. */
const SESSIONS_PER_MS = 0.5;
/** Key exchange, with one identity at each end unless there are many. */
type Kind = Readonly<{
  name: string;
  groups: string;
  many?: boolean;
  /** One in each session. */
  request?: boolean;
  /** What the design bounds; the others are shown apart. */
  budgeted?: boolean;
}>;
const KINDS: readonly Kind[] = [
  { name: 'X25519', groups: 'X25519', budgeted: true },
  { name: 'X25519MLKEM768', groups: 'X25519MLKEM768' },
  { name: 'X25519, 8 pairs of identities', groups: 'X25519', many: true },
  { name: 'X25519, and a request refused', groups: 'X25519', request: true },
];
/** OpenSSL alone, in the rounds of the others: how fast this machine is at what most of a session is. */
const BARE = { name: 'bare', groups: 'X25519' } as const;

/**
 * What does a new mTLS session cost each side, from TCP's handshake to the end of HTTP/2 and TLS? Each is complete: the client waits
 * for the server's settings, which follow its own proof. The client is a process that does as ztunnel does; the server is
 * ztunnel itself.
 */
export const handshakes: Question = {
  name: 'handshakes',
  async ask({ rig, rounds, ms, note }) {
    const client = rig.client('outside');
    const all = await allClientCertificates(rig);
    const add = SOURCES.map((ip) => `ip address replace ${ip}/16 dev eth0`).join(' && ');
    await runChild(rig.enter('outside', ['sh', '-c', add]));
    const pids = [await rig.ztunnelPid('node-2')];
    const count = Math.max(50, Math.round(ms * SESSIONS_PER_MS));
    const subjects = KINDS.map(({ name, groups, many = false, request = false }) => ({
      name,
      measure: async () => {
        const certificates = many ? all : all.slice(0, 1);
        const ask = {
          ...serverProxy(rig),
          certificates,
          ...{ groups, request, sources: SOURCES, parallel: PARALLEL },
        };
        await client.ask('handshakes', { ...ask, count: WARM });
        const before = processorTimeUs(pids);
        const answer = await client.ask('handshakes', { ...ask, count });
        const server = processorTimeUs(pids) - before;
        return {
          server: server / count / 1000,
          client: answer.processorUs / count / 1000,
          perSecond: (count * 1000) / answer.ms,
        };
      },
    }));
    const bare = {
      name: BARE.name,
      measure: async () => {
        const [certificate = await clientCertificate(rig)] = all;
        const { groups } = BARE;
        const answer = await client.ask('bareHandshakes', { certificate, groups, count });
        return { server: answer.serverMs, client: answer.clientMs };
      },
    };
    for (const { name, measure } of [...subjects, bare])
      await warmUp(async () => {
        note(`handshakes: warming up, ${name}`);
        return (await measure()).server;
      });
    const results = await measureRounds([...subjects, bare], rounds, (round, name) => {
      note(`handshakes: round ${round + 1} of ${rounds}, ${name}`);
    });
    const rows = KINDS.flatMap(({ name: kind, budgeted = false }) => {
      const name = `${budgeted ? 'perf-L6 ' : ''}new session, ${kind}`;
      const value = (which: string): readonly number[] => valuesOf(results, kind, which);
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
          ...{ metric: `new sessions a second, ${kind}`, unit: '1/s', better: 'higher' },
          ours: value('perSecond'),
        }),
      ];
    });
    for (const side of ['server', 'client'] as const)
      rows.push(
        makeRow({
          ...{ metric: `new session, X25519, ${side} side, against the handshake alone` },
          ...{ unit: 'ms', better: 'lower', ours: valuesOf(results, 'X25519', side) },
          peer: { name: 'bare', values: valuesOf(results, BARE.name, side) },
        }),
      );
    return rows;
  },
};
