import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { netnsPath } from '../../../deploy/sandbox/networks.ts';
import { joined, undoneBy, type ActiveFault, type Fault } from '../fault.ts';
import type { FaultPlace } from '../place.ts';
import { limitedBySignals } from './processor.ts';

const CONTROL_PLANE = 'control-plane';
const XDS_PORT = 15012;
const NONSENSE_PORT = 15999;
const NONSENSE_PROGRAM = join(import.meta.dirname, '../nonsense-program.ts');
/** Nobody has it: only the resolver above the mesh can say so. */
const NO_NAME = 'nobody.example';

async function away(place: FaultPlace, part: string): Promise<ActiveFault> {
  await place.mesh.part(part, 'stop');
  return undoneBy(async () => {
    await place.mesh.part(part, 'start');
    await place.partReady(part);
  });
}

/** It runs for a twentieth of the time: each answer takes a second and more. */
async function slow(place: FaultPlace, part: string): Promise<ActiveFault> {
  return limitedBySignals(await place.partPid(part), 25, 475);
}

/** A server of random bytes in the place of the real one, for everybody on the network. */
async function nonsense(place: FaultPlace, rule: string, cut: string): Promise<ActiveFault> {
  const { supervisorPid } = await place.mesh.sandbox.status();
  const ownUsers =
    readlinkSync(`/proc/${supervisorPid}/ns/user`) === readlinkSync('/proc/self/ns/user')
      ? []
      : ['--user', '--preserve-credentials'];
  const sandbox = ['--target', String(supervisorPid), ...ownUsers, '--mount', '--net'];
  const inside = ['nsenter', `--net=${netnsPath(CONTROL_PLANE)}`];
  const program = [process.execPath, NONSENSE_PROGRAM, String(NONSENSE_PORT)];
  const server = spawn('nsenter', [...sandbox, ...inside, ...program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const serverEnds = undoneBy(() => {
    server.kill('SIGKILL');
    return Promise.resolve();
  });
  await once(server.stdout, 'data');
  const script = `nft -f - <<END
table inet nonsense {
  chain redirect {
    type nat hook prerouting priority -110
    ${rule} redirect to :${NONSENSE_PORT}
  }
  chain cut {
    type filter hook input priority 10
    ${cut}
  }
}
END`;
  await place.run(CONTROL_PLANE, script);
  const rulesEnd = undoneBy(
    async () => void (await place.run(CONTROL_PLANE, 'nft delete table inet nonsense')),
  );
  return joined([serverEnds, rulesEnd]);
}

/** A resolver that does not answer is an error; once it answers, it is its answer within a second. */
async function resolverAnswers(place: FaultPlace): Promise<void> {
  const peer = await place.mesh.peer('other'); // the other client's lookups may still wait for theirs
  for (;;)
    try {
      await peer.ask('lookup', { name: NO_NAME, family: 4 });
      throw new Error(`${NO_NAME} has an address`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOTFOUND') return;
    }
}

const kinds = (
  what: string,
  part: string,
  rule: string,
  cut: string,
  more: Partial<Fault>,
): Fault[] => {
  const common = { spares: {}, holdMs: 1_500, ...more };
  return [
    {
      ...{ ...common, name: `${what} is away`, class: `${what} away` },
      begin: (place) => away(place, part),
    },
    {
      ...{ ...common, name: `${what} is slow`, class: `${what} slow` },
      begin: (place) => slow(place, part),
    },
    {
      ...{ ...common, name: `${what} answers nonsense`, class: `${what} answers nonsense` },
      begin: (place) => nonsense(place, rule, cut),
    },
  ];
};

export const upstreamFaults: readonly Fault[] = [
  ...kinds(
    'the control plane',
    'istiod-lite',
    `tcp dport ${XDS_PORT}`,
    // What is open is torn, so that all come again and meet the other one.
    `tcp dport ${XDS_PORT} reject with tcp reset`,
    {},
  ),
  ...kinds('the DNS upstream', 'cluster-dns', 'udp dport 53', '', {
    recovered: resolverAnswers,
  }),
];
