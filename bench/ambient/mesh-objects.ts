import { AMBIENT, namespaceYaml } from '../../test/support/mesh-yaml.ts';
import type { ObjectReference } from '../../deploy/sandbox/api.ts';
import { DATAPLANE_MODE } from '../../mesh/kubernetes/labels.ts';
import { waypointYaml } from '../../test/support/mesh-waypoints.ts';
import {
  APP_NAMESPACE,
  APP_PORT,
  appEndpoints,
  callersOf,
  LATE,
  LOAD,
  PROBE,
  SERVICE_PORT,
  type AppPod,
} from './application.ts';
import type { CallGraph } from './call-graph.ts';

export const WAYPOINT = 'waypoint';

/** Containers that a mode adds to each pod. */
export type Additions = Readonly<{
  initContainers: readonly object[];
  /** Makes the application's command wait for what has to run before it. */
  wrap(command: readonly string[]): readonly string[];
}>;

/** What every mode runs: the application, its Services, and pods that send load. */
export function applicationYaml(
  graph: CallGraph,
  pods: readonly AppPod[],
  late: number,
  inMesh: boolean,
  waypointed: readonly string[],
  additions: (pod: AppPod) => Additions | undefined,
): string {
  const accounts = new Set([...pods.map(({ account }) => account), LATE]);
  return [
    namespaceYaml(APP_NAMESPACE, inMesh ? AMBIENT : {}),
    ...[...accounts].map((name) => object('v1', 'ServiceAccount', name, {})),
    ...appEndpoints(graph, late).map(({ name, vip }) =>
      object(
        ...(['v1', 'Service', name] as const),
        {
          spec: {
            ...{ clusterIP: vip, selector: { service: name } },
            ports: [{ name: 'http', port: SERVICE_PORT, targetPort: APP_PORT }],
          },
        },
        waypointed.includes(name) ? { 'istio.io/use-waypoint': WAYPOINT } : {},
      ),
    ),
    ...pods.map((pod) => podObject(pod, additions(pod))),
  ].join('');
}

/** One pod of the application. */
export function podObject(pod: AppPod, additions: Additions | undefined): string {
  const command =
    pod.nginx === undefined ? ['sleep', 'infinity'] : ['nginx', '-e', 'stderr', '-c', pod.nginx];
  const labels = {
    account: pod.account,
    ...(pod.service !== undefined && { service: pod.service }),
    ...(pod.beside && { [DATAPLANE_MODE]: 'none' }),
  };
  const spec = {
    ...{ serviceAccountName: pod.account, nodeName: pod.node, terminationGracePeriodSeconds: 1 },
    initContainers: additions?.initContainers ?? [],
    containers: [{ name: 'app', image: 'app', command: additions?.wrap(command) ?? command }],
  };
  return object('v1', 'Pod', pod.name, { spec }, labels);
}

/** Who may call whom, by identity; what has a waypoint is called by nobody else, and the waypoint by who may call it. */
export function policiesYaml(graph: CallGraph, waypointed: readonly string[]): string {
  const policies = graph.services.flatMap((service) => {
    const { name } = service;
    const callers = callersOf(service);
    if (!waypointed.includes(name)) return [allow(name, callers, { selector: pods(name) })];
    const target = { targetRefs: [{ group: '', kind: 'Service', name }] };
    return [
      allow(`${name}-waypoint`, callers, target),
      allow(name, [WAYPOINT], { selector: pods(name) }),
    ];
  });
  return [
    ...policies,
    allow(LATE, [LOAD], { selector: { matchLabels: { account: LATE } } }),
    ...(waypointed.length > 0 ? [waypointYaml(WAYPOINT, { namespace: APP_NAMESPACE })] : []),
  ].join('');
}

const POLICY = 'AuthorizationPolicy';
const DENY_PROBE = 'deny-probe';

/** The change of the configuration that is measured: nobody serves the probe any more. Pods and waypoint are told apart. */
export function denyProbeYaml(waypointed: readonly string[]): string {
  const gateway = { group: 'gateway.networking.k8s.io', kind: 'Gateway', name: WAYPOINT };
  return [
    policy(DENY_PROBE, 'DENY', [PROBE], {}),
    ...(waypointed.length > 0
      ? [policy(`${DENY_PROBE}-waypoint`, 'DENY', [PROBE], { targetRefs: [gateway] })]
      : []),
  ].join('');
}

/** What denyProbeYaml() made. */
export const DENY_PROBE_OBJECTS: readonly ObjectReference[] = [
  DENY_PROBE,
  `${DENY_PROBE}-waypoint`,
].map((name) => ({ kind: POLICY, namespace: APP_NAMESPACE, name }));

function pods(service: string): object {
  return { matchLabels: { service } };
}

function allow(name: string, accounts: readonly string[], target: object): string {
  return policy(`allow-${name}`, 'ALLOW', accounts, target);
}

function policy(
  name: string,
  action: 'ALLOW' | 'DENY',
  accounts: readonly string[],
  target: object,
): string {
  const principals = accounts.map((account) => `cluster.local/ns/${APP_NAMESPACE}/sa/${account}`);
  const rules = [{ from: [{ source: { principals } }] }];
  return object('security.istio.io/v1', POLICY, name, {
    spec: { action, rules, ...target },
  });
}

/** JSON is YAML; one document. */
function object(
  apiVersion: string,
  kind: string,
  name: string,
  more: object,
  labels: Readonly<Record<string, string>> = {},
): string {
  const metadata = { name, namespace: APP_NAMESPACE, labels };
  return `---\n${JSON.stringify({ apiVersion, kind, metadata, ...more })}\n`;
}
