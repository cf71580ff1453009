/** Kinds that live in no namespace. */
const CLUSTER_SCOPED = new Set(['Namespace', 'Node', 'GatewayClass', 'CustomResourceDefinition']);

/** Kinds that people run by other controllers than the sandbox has. */
const UNSUPPORTED = new Map([
  ['StatefulSet', 'write its pods as Pods, or use a Deployment'],
  ['DaemonSet', 'write a Pod for each node with nodeName'],
  ['ReplicaSet', 'use a Deployment'],
  ['ReplicationController', 'use a Deployment'],
  ['Job', 'use a Pod with restartPolicy Never'],
  ['CronJob', 'use a Pod with restartPolicy Never'],
]);

/** Short and plural names, as `kubectl` takes them. */
const NAMES = new Map([
  ...kind('Namespace', 'namespaces', 'ns'),
  ...kind('Node', 'nodes', 'no'),
  ...kind('Pod', 'pods', 'po'),
  ...kind('Service', 'services', 'svc'),
  ...kind('ServiceAccount', 'serviceaccounts', 'sa'),
  ...kind('EndpointSlice', 'endpointslices'),
  ...kind('Deployment', 'deployments', 'deploy'),
  ...kind('AuthorizationPolicy', 'authorizationpolicies', 'ap'),
  ...kind('PeerAuthentication', 'peerauthentications', 'pa'),
  ...kind('ServiceEntry', 'serviceentries', 'se'),
  ...kind('WorkloadEntry', 'workloadentries', 'we'),
  ...kind('Gateway', 'gateways', 'gtw'),
  ...kind('GatewayClass', 'gatewayclasses', 'gc'),
  ...kind('HTTPRoute', 'httproutes'),
  ...kind('GRPCRoute', 'grpcroutes'),
  ...kind('TLSRoute', 'tlsroutes'),
  ...kind('UDPRoute', 'udproutes'),
  ...kind('TCPRoute', 'tcproutes'),
  ...kind('ReferenceGrant', 'referencegrants', 'refgrant'),
  ...kind('ConfigMap', 'configmaps', 'cm'),
  ...kind('Secret', 'secrets'),
]);

function kind(name: string, ...others: string[]): [string, string][] {
  return [name.toLowerCase(), ...others].map((other) => [other, name]);
}

/** The kind that a person means: `po`, `pods`, `Pod`; a text that is not known stands for itself. */
export function resolveKind(text: string): string {
  return NAMES.get(text.toLowerCase()) ?? text;
}

export function isClusterScoped(kind: string): boolean {
  return CLUSTER_SCOPED.has(kind);
}

/** What to do instead of applying an object of this kind; undefined when it can be applied. */
export function unsupportedKind(kind: string): string | undefined {
  return UNSUPPORTED.get(kind);
}
