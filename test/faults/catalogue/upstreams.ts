import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { insideSandbox } from '../../support/mesh-tunnels.ts';
import { inTurn, undoneBy, type ActiveFault, type Fault } from '../fault.ts';
import type { FaultPlace } from '../place.ts';
import { changeConfiguration } from './disk.ts';
import { limitedBySignals } from './processor.ts';

const CONTROL_PLANE = 'control-plane';
const XDS_PORT = 15012;
const NONSENSE_PORT = 15999;
const NONSENSE_PROGRAM = join(import.meta.dirname, '../nonsense-program.ts');
/** Nobody has it, nobody has been asked for it, and only the resolver above the mesh can say so. */
function noName(): string {
  return `nobody-${crypto.randomUUID()}.example`;
}

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
function nonsense(place: FaultPlace, rule: string, cut: string): Promise<ActiveFault> {
  return inTurn(
    () => nonsenseServer(place),
    async () => {
      await place.run(
        CONTROL_PLANE,
        `nft -f - <<END
table inet nonsense {
  chain divert {
    type nat hook prerouting priority -110
    ${rule} redirect to :${NONSENSE_PORT}
  }
  chain tear {
    type filter hook input priority 10
    ${cut}
  }
}
END`,
      );
      return undoneBy(() => place.run(CONTROL_PLANE, 'nft delete table inet nonsense'));
    },
  );
}

async function nonsenseServer(place: FaultPlace): Promise<ActiveFault> {
  const program = [process.execPath, NONSENSE_PROGRAM, String(NONSENSE_PORT)];
  const inside = await insideSandbox(place.mesh, CONTROL_PLANE);
  const server = spawn('nsenter', [...inside, ...program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  server.stdout.setEncoding('utf8').on('data', (text: string) => (said += text));
  await once(server.stdout, 'data');
  return undoneBy(() => {
    server.kill('SIGKILL');
    if (!said.includes('asked')) throw new Error('nobody has asked the server of nonsense');
    return Promise.resolve();
  });
}

/** Somebody asks for what only the resolver above the mesh knows; nobody may get an address for an answer. */
async function ask(place: FaultPlace): Promise<ActiveFault> {
  const peer = await place.mesh.peer('intruder'); // the loads' clients must not wait behind it
  const asked = peer.ask('lookup', { name: noName(), family: 4 }).then(
    ({ addresses }) => addresses.join(),
    () => '',
  );
  return undoneBy(async () => {
    const addresses = await Promise.race([asked, delay(0, '')]);
    if (addresses !== '') throw new Error(`a name of nobody has the address ${addresses}`);
  });
}

/** A resolver that does not answer is an error; once it answers, it is its answer within a second. */
async function resolverAnswers(place: FaultPlace): Promise<void> {
  const peer = await place.mesh.peer('other'); // the other client's lookups may still wait for theirs
  for (;;)
    try {
      await peer.ask('lookup', { name: noName(), family: 4 });
      throw new Error('a name of nobody has an address');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOTFOUND') return;
    }
}

const kinds = (
  what: string,
  part: string,
  rule: string,
  cut: string,
  meanwhile: (place: FaultPlace) => Promise<ActiveFault>,
  more: Partial<Fault>,
): Fault[] => {
  const common = { spares: {}, holdMs: 1_500, ...more };
  return [
    {
      ...{ ...common, name: `${what} is away`, class: `${what} away` },
      begin: (place) =>
        inTurn(
          () => away(place, part),
          () => meanwhile(place),
        ),
    },
    {
      ...{ ...common, name: `${what} is slow`, class: `${what} slow` },
      begin: (place) =>
        inTurn(
          () => slow(place, part),
          () => meanwhile(place),
        ),
    },
    {
      ...{ ...common, name: `${what} answers nonsense`, class: `${what} answers nonsense` },
      begin: (place) =>
        inTurn(
          () => nonsense(place, rule, cut),
          () => meanwhile(place),
        ),
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
    changeConfiguration,
    {},
  ),
  ...kinds('the DNS upstream', 'cluster-dns', 'udp dport 53', '', ask, {
    recovered: resolverAnswers,
  }),
];
