import test, { type ExecutionContext } from 'ava';
import type { Peer } from '../support/mesh-peer.ts';
import { startMesh } from '../support/mesh.ts';
import { waypointPods, waypointReady, waypointYaml } from '../support/mesh-waypoints.ts';
import { namespaceYaml, podYaml, serviceYaml } from '../support/mesh-yaml.ts';

// Who may reach a server around its waypoint: nobody, in no state of the waypoint. Each server has a waypoint of its own.

const CLIENTS = ['mesh', 'plain', 'host'] as const;
const TARGETS = ['VIP', 'pod address'] as const;
const KINDS = ['service', 'workload', 'all', 'none', 'account'] as const;
const STATES = ['ready', 'refused', 'crashed', 'unready', 'absent'] as const;

type Client = (typeof CLIENTS)[number];
type Target = (typeof TARGETS)[number];
/** `waypoint-for`, or the pods of an account. */
type Kind = (typeof KINDS)[number];
/** Refused: the waypoint allows no namespace. Unready: without a replica. Absent: there is no such Gateway. */
type State = (typeof STATES)[number];
type Outcome = 'waypoint' | 'direct' | 'refused';

/** What becomes of a connection, by the rules of docs/decisions/fail-closed.md. */
function expected(client: Client, target: Target, kind: Kind, state: State): Outcome {
  // The host is no node of the cluster: a VIP is no address to it.
  if (client === 'host' && target === 'VIP') return 'refused';
  // An account is named by the Gateway alone, so without it nobody asks for a waypoint. Where a label names one that is
  // not there, nobody says that it would be for no traffic.
  if (kind === 'account' && state === 'absent') return 'direct';
  if (kind === 'none' && state !== 'absent') return 'direct';
  // What the Service asks for concerns its VIP, and those whose proxy knows of it.
  if (kind === 'service' && (target === 'pod address' || client !== 'mesh')) return 'direct';
  if (client !== 'mesh') return 'refused';
  return state === 'ready' ? 'waypoint' : 'refused';
}

function serverOf(kind: Kind): string {
  return `web-${kind}`;
}

function waypointOf(kind: Kind): string {
  return `for-${kind}`;
}

function waypoint(kind: Kind, namespaces: object = { from: 'Same' }, spec: object = {}): string {
  const by =
    kind === 'account'
      ? { annotations: { 'istio.io/for-service-account': serverOf(kind) } }
      : { labels: { 'istio.io/waypoint-for': kind } };
  return waypointYaml(waypointOf(kind), { ...by, namespaces, spec: { ...spec } });
}

function serverYaml(kind: Kind): string {
  const name = serverOf(kind);
  const use = { 'istio.io/use-waypoint': waypointOf(kind) };
  const ofPod = ['workload', 'all', 'none'].includes(kind) ? use : {};
  const ofService = ['service', 'all', 'none'].includes(kind) ? use : {};
  const pod = podYaml(name, { node: 'node-2', labels: ofPod });
  return pod + serviceYaml(name, { 80: 80 }, {}, 'shop', ofService);
}

/** Replicas of a waypoint, as its Gateway's parameters have them. */
const NO_REPLICAS = `---
apiVersion: v1
kind: ConfigMap
metadata: { name: no-replicas, namespace: shop }
data:
  deployment: |
    spec: { replicas: 0 }
`;
const WITHOUT_REPLICAS = {
  infrastructure: { parametersRef: { group: '', kind: 'ConfigMap', name: 'no-replicas' } },
};

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    namespaceYaml('plain', {}),
    podYaml('client', { node: 'node-1' }),
    podYaml('stranger', { namespace: 'plain', node: 'node-1' }),
    ...KINDS.map(serverYaml),
    NO_REPLICAS,
  ].join(''),
});

test.before('the servers listen, the waypoints run', async () => {
  for (const kind of KINDS) await (await mesh.peer(serverOf(kind))).listen(80);
  await mesh.apply(...KINDS.map((kind) => waypoint(kind)));
  for (const kind of KINDS) await waypointReady(mesh, waypointOf(kind));
});

const reach: Readonly<Record<State, () => Promise<void>>> = {
  ready: () => Promise.resolve(),
  async refused() {
    await mesh.apply(...KINDS.map((kind) => waypoint(kind, { from: 'None' })));
  },
  async crashed() {
    await mesh.apply(...KINDS.map((kind) => waypoint(kind)));
    // It ends again as soon as it is started again.
    await mesh.sandbox.post('/v1/images', { 'halo/waypoint': ['false'] });
    for (const kind of KINDS)
      for (const pod of await waypointPods(mesh, waypointOf(kind))) await mesh.kill(pod);
  },
  async unready() {
    await mesh.apply(...KINDS.map((kind) => waypoint(kind, { from: 'Same' }, WITHOUT_REPLICAS)));
  },
  async absent() {
    for (const kind of KINDS) await mesh.delete('Gateway', waypointOf(kind));
  },
};

async function peerOf(client: Client): Promise<Peer> {
  switch (client) {
    case 'mesh':
      return mesh.peer('client');
    case 'plain':
      return mesh.peer('plain/stranger');
    case 'host':
      return mesh.outside();
  }
}

/** One connection, and how the server's proxy saw it. */
async function call(client: Client, target: Target, kind: Kind): Promise<Outcome> {
  const server = serverOf(kind);
  const peer = await peerOf(client);
  const ip = target === 'VIP' ? await mesh.vip(server) : await mesh.ip(server);
  const mark = mesh.mark();
  const { text } = await peer.say(ip, 80, 'hello');
  if (text === '') return 'refused';
  const arrived = { direction: 'inbound', 'dst.workload': server, bytes_recv: 5 } as const;
  const record = await mesh.record(arrived, mark);
  const identity = `spiffe://cluster.local/ns/shop/sa/${waypointOf(kind)}`;
  return record['src.identity'] === identity ? 'waypoint' : 'direct';
}

async function checkKind(t: ExecutionContext, kind: Kind, state: State): Promise<void> {
  // One after another: the records of one server are told apart by their time.
  for (const client of CLIENTS)
    for (const target of TARGETS) {
      const label = `${client} client to the ${target}, waypoint for ${kind}, ${state}`;
      t.is(await call(client, target, kind), expected(client, target, kind, state), label);
    }
}

for (const state of STATES)
  test.serial(`nothing gets around waypoints that are ${state}`, async (t) => {
    await reach[state]();
    await Promise.all(KINDS.map((kind) => checkKind(t, kind, state)));
  });
