import { readFileSync } from 'node:fs';
import { Cgroup } from '../cgroup.ts';
import { inTurn, together, undoneBy, type ActiveFault, type Fault } from '../fault.ts';
import { ECHO_PORT } from '../loads.ts';
import type { FaultPlace } from '../place.ts';
import { runProgram } from '../../support/run-program.ts';

const ZTUNNEL = 'ztunnel-node-1';
/** What a group may have beside what its process had before: a few connections' worth. */
const MORE_BYTES = 2 << 20;
const DESCRIPTORS = 256;
const PORTS = 100;
/** More connections than any of these limits lets through. */
const CROWD = 400;
/** Who has not been served by then is kept out. */
const CROWD_MS = 500;

async function prlimit(pid: number, limit: string): Promise<void> {
  const { code, stderr } = await runProgram('prlimit', ['--pid', String(pid), limit]);
  if (code !== 0) throw new Error(stderr);
}

/**
 * Connections at once, from `other` to the echo of `near`, which stay open.
 *
 * @param refused so many of them at least the limit has to keep out; otherwise it was none, and the fault did not happen.
 */
async function crowd(place: FaultPlace, refused: number): Promise<ActiveFault> {
  const peer = await place.mesh.peer('other');
  const host = await place.mesh.ip('near');
  const ask = { host, port: ECHO_PORT, count: CROWD, withinMs: CROWD_MS };
  const { group, echoed } = await peer.ask('openMany', ask);
  return undoneBy(async () => {
    await peer.ask('resetMany', { group });
    if (CROWD - echoed < refused) throw new Error(`the limit let all ${CROWD} connections through`);
  });
}

export const limitFaults: readonly Fault[] = [
  {
    name: 'ztunnel of node-1 is at its memory limit',
    class: 'memory limit reached',
    spares: {},
    holdMs: 800,
    replaces: true,
    begin: async (place) => {
      const pid = await place.partPid(ZTUNNEL);
      return inTurn(
        // Where the limit killed it, it is over when another one is ready.
        () => undoneBy(() => place.partReady(ZTUNNEL)),
        () => limitMemory(pid),
        () => crowd(place, 0),
      );
    },
  },
  {
    name: 'ztunnel of node-1 has 256 descriptors',
    class: 'descriptors limited to 256',
    spares: {},
    holdMs: 500,
    begin: async (place) => {
      const pid = await place.partPid(ZTUNNEL);
      const [, soft = '', hard = ''] =
        /^Max open files\s+(\d+)\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, 'utf8')) ?? [];
      return inTurn(
        async () => {
          await prlimit(pid, `--nofile=${DESCRIPTORS}:${hard}`);
          return undoneBy(() => prlimit(pid, `--nofile=${soft}:${hard}`));
        },
        () => crowd(place, 1),
      );
    },
  },
  {
    name: 'pods have 100 ports',
    class: 'port range of 100',
    spares: { 'from the outside': 'a client outside has the ports of its own machine' },
    holdMs: 500,
    begin: (place) => {
      return inTurn(
        () => together(['client', 'other', 'near'].map((pod) => () => limitPorts(place, pod))),
        () => crowd(place, 1),
      );
    },
  },
];

/** The kernel ends the process that cannot have more (group), or the process ends itself (address space). */
async function limitMemory(pid: number): Promise<ActiveFault> {
  const group = Cgroup.make('memory');
  if (group === undefined) {
    const [, size = '0'] =
      /^VmSize:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
    await prlimit(pid, `--as=${Number(size) * 1024 + MORE_BYTES}:unlimited`);
    const undo = (): Promise<void> =>
      prlimit(pid, '--as=unlimited:unlimited').catch(() => undefined);
    return undoneBy(undo, 'RLIMIT_AS');
  }
  // What it has already is counted where it was.
  group.limit(MORE_BYTES);
  group.add(pid);
  return undoneBy(() => {
    const { hits } = group;
    group.end();
    if (hits === 0) throw new Error('the memory limit was never met');
    return Promise.resolve();
  }, `cgroup v${group.version}`);
}

async function limitPorts(place: FaultPlace, pod: string): Promise<ActiveFault> {
  const file = '/proc/sys/net/ipv4/ip_local_port_range';
  const before = (await place.run(pod, `cat ${file}`)).trim();
  await place.run(pod, `echo 40000 ${40_000 + PORTS - 1} > ${file}`);
  return undoneBy(() => place.run(pod, `echo ${before} > ${file}`));
}
