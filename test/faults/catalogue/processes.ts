import { waypointPods } from '../../support/mesh-waypoints.ts';
import { WAYPOINTS } from '../loads.ts';
import { together, undoneBy, type ActiveFault, type Fault } from '../fault.ts';
import type { FaultPlace } from '../place.ts';

const STOP_MS = 3_000;
const NODE_2_ONLY = {
  'one node': 'both ends are on node-1',
  'to the outside': 'the client is on node-1',
  'from the outside': 'the server is on node-1',
} as const;

/** Ends a part without warning; over when the one that replaces it is ready. */
async function killed(place: FaultPlace, part: string): Promise<ActiveFault> {
  return undoneBy(await place.killPart(part));
}

/** Stops processes, whose kernel side goes on. */
function stopped(pids: readonly number[]): ActiveFault {
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  return undoneBy(() => {
    for (const pid of pids) process.kill(pid, 'SIGCONT');
    return Promise.resolve();
  });
}

const PARTS = [
  ['ztunnel of node-1', 'ztunnel-node-1', {}],
  ['ztunnel of node-2', 'ztunnel-node-2', NODE_2_ONLY],
  ['node agent', 'node-agent-node-1', {}],
  ['istiod-lite', 'istiod-lite', {}],
] as const;

export const processFaults: readonly Fault[] = [
  ...PARTS.map(
    ([what, part, spares]): Fault => ({
      name: `${what} is killed`,
      class: 'process killed',
      spares,
      holdMs: 0,
      replaces: true,
      begin: (place) => killed(place, part),
    }),
  ),
  ...PARTS.map(
    ([what, part, spares]): Fault => ({
      name: `${what} is stopped for 3 s`,
      class: 'process stopped',
      spares,
      holdMs: STOP_MS,
      begin: async (place) => stopped([await place.partPid(part)]),
    }),
  ),
  {
    name: 'the servers are killed',
    class: 'process killed',
    spares: {},
    holdMs: 0,
    begin: async (place) => {
      const { servers } = place;
      const pids = await Promise.all(servers.map((pod) => place.peerPid(pod)));
      const peers = await Promise.all(servers.map((pod) => place.mesh.peer(pod)));
      for (const pid of pids) process.kill(pid, 'SIGKILL');
      await Promise.all(peers.map(({ ended }) => ended));
      return together(
        servers.map((pod) => () => Promise.resolve(undoneBy(() => place.serve(pod)))),
      );
    },
    // The kernel ends in order what a killed process had open and nothing to read in.
    explains: /^shop\/\w+: an end in order after|^outside\/\w+: an end in order after/,
  },
  {
    name: 'the servers are stopped for 3 s',
    class: 'process stopped',
    spares: {},
    holdMs: STOP_MS,
    begin: async (place) =>
      stopped(await Promise.all(place.servers.map((pod) => place.peerPid(pod)))),
  },
];

const L4_ALONE = {
  'one node': 'no waypoint',
  'two nodes': 'no waypoint',
  'to the outside': 'no waypoint',
  'from the outside': 'no waypoint',
} as const;
const SECOND_ALONE = { ...L4_ALONE, 'one waypoint': 'it is not passed' } as const;

/** What becomes of waypoints themselves. */
export const waypointFaults: readonly Fault[] = [
  ...WAYPOINTS.flatMap((waypoint): Fault[] => [
    {
      name: `waypoint ${waypoint} is killed`,
      class: 'process killed',
      spares: waypoint === 'gate' ? L4_ALONE : SECOND_ALONE,
      holdMs: 0,
      begin: async (place) => {
        const [pod = ''] = await waypointPods(place.mesh, waypoint);
        return undoneBy(await place.killWaypoint(pod));
      },
    },
    {
      name: `waypoint ${waypoint} is stopped for 3 s`,
      class: 'process stopped',
      spares: waypoint === 'gate' ? L4_ALONE : SECOND_ALONE,
      holdMs: STOP_MS,
      begin: async (place) => {
        const [pod = ''] = await waypointPods(place.mesh, waypoint);
        return stopped([await place.waypointPid(pod)]);
      },
    },
  ]),
  {
    name: 'both waypoints are killed',
    class: 'process killed',
    spares: L4_ALONE,
    holdMs: 0,
    begin: async (place) => {
      const pods = await Promise.all(WAYPOINTS.map((name) => waypointPods(place.mesh, name)));
      return together(
        pods.flat().map((pod) => async () => undoneBy(await place.killWaypoint(pod))),
      );
    },
  },
];
