import { LOAD_PORTS } from '../load/protocol.ts';
import { namespaceYaml, PEER_IMAGE, podYaml, serviceYaml } from '../../test/support/mesh-yaml.ts';
import { LATE_NAMESPACE, MESH_NAMESPACE, PLAIN_NAMESPACE, SERVICE } from './places.ts';

/** The pods do nothing by themselves: programs are started inside of them. */
export const IMAGES: Readonly<Record<string, readonly string[]>> = {
  [PEER_IMAGE]: ['sleep', 'infinity'],
};

/** Budgets are measured with this many policies. Design: everything switched on. */
const POLICIES = 100;

/** Accounts of further pods beside the client, so that there are many pairs of identities. */
export const MORE_CLIENTS: readonly string[] = Array.from({ length: 7 }, (_, n) => `client-${n}`);

/** Who may connect. */
const CLIENTS = [MESH_NAMESPACE, LATE_NAMESPACE].map(
  (namespace) => `cluster.local/ns/${namespace}/sa/client`,
);

/** The whole mesh of the benchmark: a client and a server in it, and a pair beside it. */
export function meshYaml(): string {
  const pods = [MESH_NAMESPACE, PLAIN_NAMESPACE].flatMap((namespace) => [
    podYaml('client', { namespace, node: 'node-1' }),
    podYaml('server', { namespace, node: 'node-2' }),
  ]);
  const more = MORE_CLIENTS.map((name) =>
    podYaml(name, { namespace: MESH_NAMESPACE, node: 'node-1' }),
  );
  return [
    namespaceYaml(MESH_NAMESPACE),
    namespaceYaml(PLAIN_NAMESPACE, {}),
    ...pods,
    ...more,
    serviceYaml(
      SERVICE,
      Object.fromEntries(LOAD_PORTS.map((port) => [port, port])),
      {},
      MESH_NAMESPACE,
    ),
    ...Array.from({ length: POLICIES - 1 }, (_, index) => denyPolicy(index)),
    policy('allow-client', 'ALLOW', [{ from: [{ source: { principals: CLIENTS } }] }]),
  ].join('');
}

/** Pods of one account that are taken into the mesh one day. */
export function idlePodsYaml(namespace: string, count: number): string {
  const pods = Array.from({ length: count }, (_, index) =>
    podYaml(`pod-${index}`, { namespace, node: 'node-1', account: 'client' }),
  );
  // Each comes with the account, which may stand there once only.
  const documents = new Set(pods.flatMap((pod) => pod.split(/^(?=---$)/m)));
  return [namespaceYaml(namespace, {}), ...documents].join('');
}

/** One of four kinds, none of which matches the benchmark's connections. */
function denyPolicy(index: number): string {
  const kinds = [
    { from: [{ source: { namespaces: [`other-${index}`] } }] },
    { from: [{ source: { principals: [`cluster.local/ns/bench/sa/other-${index}`] } }] },
    { from: [{ source: { ipBlocks: [`198.51.${index}.0/24`] } }] },
    { to: [{ operation: { ports: [String(20_000 + index)] } }] },
  ];
  return policy(`deny-${index}`, 'DENY', [kinds[index % kinds.length] ?? {}]);
}

function policy(name: string, action: 'ALLOW' | 'DENY', rules: readonly object[]): string {
  return `---\n${JSON.stringify({
    apiVersion: 'security.istio.io/v1',
    kind: 'AuthorizationPolicy',
    metadata: { name, namespace: MESH_NAMESPACE },
    spec: { action, rules },
  })}\n`;
}
