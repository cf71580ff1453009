import { backendTlsPolicySchema, type BackendTlsPolicy } from './backend-tls-policy.ts';
import {
  configMapSchema,
  endpointSliceSchema,
  namespaceSchema,
  nodeSchema,
  podSchema,
  replicasSchema,
  serviceAccountSchema,
  serviceSchema,
  validateService,
  type ConfigMap,
  type Deployment,
  type EndpointSlice,
  type Namespace,
  type Node,
  type Pod,
  type ReplicaSet,
  type Service,
  type ServiceAccount,
} from './core.ts';
import {
  destinationRuleSchema,
  validateDestinationRule,
  type DestinationRule,
} from './destination-rule.ts';
import {
  gatewayClassSchema,
  gatewaySchema,
  listenerSetSchema,
  validateGateway,
  type Gateway,
  type GatewayClass,
  type ListenerSet,
} from './gateway.ts';
import { grpcRouteSchema, type GrpcRoute } from './grpc-route.ts';
import { httpRouteSchema, type HttpRoute } from './http-route.ts';
import {
  serviceEntrySchema,
  validateServiceEntry,
  validateWorkloadEntry,
  workloadEntrySchema,
  type ServiceEntry,
  type WorkloadEntry,
} from './networking.ts';
import type { ObjectBase, OtherObject } from './object.ts';
import type { Report } from './problem.ts';
import {
  backendPolicySchema,
  validateBackendPolicy,
  type BackendPolicy,
} from './backend-policy.ts';
import {
  rateLimitPolicySchema,
  validateRateLimitPolicy,
  type RateLimitPolicy,
} from './rate-limit-policy.ts';
import { referenceGrantSchema, type ReferenceGrant } from './reference-grant.ts';
import {
  requestAuthenticationSchema,
  validateRequestAuthentication,
  type RequestAuthentication,
} from './request-authentication.ts';
import type { Schema } from './schema.ts';
import { secretSchema, type Secret } from './secret.ts';
import {
  authorizationPolicySchema,
  peerAuthenticationSchema,
  type AuthorizationPolicy,
  type PeerAuthentication,
} from './security.ts';
import {
  tcpRouteSchema,
  tlsRouteSchema,
  type TcpRoute,
  type TlsRoute,
  type UdpRoute,
} from './tcp-route.ts';
import { validateAuthorizationPolicy, validatePeerAuthentication } from './validate-security.ts';
import {
  validateVirtualService,
  virtualServiceSchema,
  type VirtualService,
} from './virtual-service.ts';

export type KnownObject =
  | Namespace
  | Node
  | ServiceAccount
  | ConfigMap
  | Secret
  | Pod
  | Service
  | EndpointSlice
  | Deployment
  | ReplicaSet
  | WorkloadEntry
  | ServiceEntry
  | DestinationRule
  | VirtualService
  | AuthorizationPolicy
  | PeerAuthentication
  | RequestAuthentication
  | RateLimitPolicy
  | BackendTlsPolicy
  | BackendPolicy
  | Gateway
  | GatewayClass
  | ListenerSet
  | HttpRoute
  | GrpcRoute
  | TcpRoute
  | TlsRoute
  | UdpRoute
  | ReferenceGrant;

export type KubernetesObject = KnownObject | OtherObject;
export type Kind = KnownObject['kind'];
/** The object of a kind: `ObjectOf<'Pod'>` is Pod. */
export type ObjectOf<K extends Kind> = Extract<KnownObject, { kind: K }>;

/** One kind that the mesh reads: where it lives, and how a document becomes an object. */
export type KindDefinition = Readonly<{
  group: string;
  kind: Kind;
  versions: readonly string[];
  namespaced: boolean;
  decode: (base: ObjectBase, report: Report) => KnownObject;
}>;

/** Joins what every object has with the fields of its kind. */
function definition<const K extends Kind, T extends object>(
  kind: K,
  where: Readonly<{ group: string; versions: readonly string[]; namespaced: boolean }>,
  schema: Schema<T>,
  validate: (decoded: T, report: Report) => void,
  join: (base: ObjectBase & Readonly<{ kind: K }>, decoded: T) => KnownObject,
): KindDefinition {
  return {
    ...where,
    kind,
    decode: (base, report) => {
      const decoded = schema.decode(base.raw, [], report);
      validate(decoded, report);
      return join({ ...base, kind }, decoded);
    },
  };
}

const none = (): void => undefined;
const core = { group: '', versions: ['v1'], namespaced: true };
const cluster = { ...core, namespaced: false };
const apps = { group: 'apps', versions: ['v1'], namespaced: true };
const istioVersions = ['v1', 'v1beta1', 'v1alpha3'];
const networking = { group: 'networking.istio.io', versions: istioVersions, namespaced: true };
const security = { group: 'security.istio.io', versions: ['v1', 'v1beta1'], namespaced: true };
const gatewayApi = {
  group: 'gateway.networking.k8s.io',
  versions: ['v1', 'v1beta1'],
  namespaced: true,
};

/** Older clusters have TCPRoute and TLSRoute as experimental kinds alone; their fields are the same. */
const bytesRoutes = { ...gatewayApi, versions: ['v1', 'v1alpha3', 'v1alpha2'] };

/** Every kind that the mesh reads. */
export const KINDS: readonly KindDefinition[] = [
  definition('Namespace', cluster, namespaceSchema, none, (a, b) => ({ ...a, ...b })),
  definition('Node', cluster, nodeSchema, none, (a, b) => ({ ...a, ...b })),
  definition('ServiceAccount', core, serviceAccountSchema, none, (a) => a),
  definition('ConfigMap', core, configMapSchema, none, (a, b) => ({ ...a, ...b })),
  definition('Secret', core, secretSchema, none, (a, b) => ({ ...a, ...b })),
  definition('Pod', core, podSchema, none, (a, b) => ({ ...a, ...b })),
  definition('Service', core, serviceSchema, validateService, (a, b) => ({ ...a, ...b })),
  definition(
    'EndpointSlice',
    { ...core, group: 'discovery.k8s.io' },
    endpointSliceSchema,
    none,
    (a, b) => ({ ...a, ...b }),
  ),
  definition('Deployment', apps, replicasSchema, none, (a, b) => ({ ...a, ...b })),
  definition('ReplicaSet', apps, replicasSchema, none, (a, b) => ({ ...a, ...b })),
  definition('WorkloadEntry', networking, workloadEntrySchema, validateWorkloadEntry, (a, b) => ({
    ...a,
    ...b,
  })),
  definition('ServiceEntry', networking, serviceEntrySchema, validateServiceEntry, (a, b) => ({
    ...a,
    ...b,
  })),
  definition(
    'DestinationRule',
    networking,
    destinationRuleSchema,
    validateDestinationRule,
    (a, b) => ({ ...a, ...b }),
  ),
  definition(
    'VirtualService',
    networking,
    virtualServiceSchema,
    validateVirtualService,
    (a, b) => ({ ...a, ...b }),
  ),
  definition(
    'AuthorizationPolicy',
    security,
    authorizationPolicySchema,
    validateAuthorizationPolicy,
    (a, b) => ({ ...a, ...b }),
  ),
  definition(
    'PeerAuthentication',
    security,
    peerAuthenticationSchema,
    validatePeerAuthentication,
    (a, b) => ({ ...a, ...b }),
  ),
  definition(
    'RequestAuthentication',
    security,
    requestAuthenticationSchema,
    validateRequestAuthentication,
    (a, b) => ({ ...a, ...b }),
  ),
  definition(
    'RateLimitPolicy',
    { group: 'halo.dev', versions: ['v1alpha1'], namespaced: true },
    rateLimitPolicySchema,
    validateRateLimitPolicy,
    (a, b) => ({ ...a, ...b }),
  ),
  definition(
    'BackendTLSPolicy',
    { ...gatewayApi, versions: ['v1', 'v1alpha3'] },
    backendTlsPolicySchema,
    none,
    (a, b) => ({ ...a, ...b }),
  ),
  definition(
    'BackendPolicy',
    { group: 'halo.dev', versions: ['v1alpha1'], namespaced: true },
    backendPolicySchema,
    validateBackendPolicy,
    (a, b) => ({ ...a, ...b }),
  ),
  definition('Gateway', gatewayApi, gatewaySchema, validateGateway, (a, b) => ({ ...a, ...b })),
  definition(
    'GatewayClass',
    { ...gatewayApi, namespaced: false },
    gatewayClassSchema,
    none,
    (a, b) => ({
      ...a,
      ...b,
    }),
  ),
  definition('ListenerSet', gatewayApi, listenerSetSchema, none, (a, b) => ({ ...a, ...b })),
  definition('HTTPRoute', gatewayApi, httpRouteSchema, none, (a, b) => ({ ...a, ...b })),
  definition('GRPCRoute', gatewayApi, grpcRouteSchema, none, (a, b) => ({ ...a, ...b })),
  definition('TCPRoute', bytesRoutes, tcpRouteSchema, none, (a, b) => ({ ...a, ...b })),
  definition('UDPRoute', bytesRoutes, tcpRouteSchema, none, (a, b) => ({ ...a, ...b })),
  definition('TLSRoute', bytesRoutes, tlsRouteSchema, none, (a, b) => ({ ...a, ...b })),
  definition('ReferenceGrant', gatewayApi, referenceGrantSchema, none, (a, b) => ({
    ...a,
    ...b,
  })),
];

/**
 * Kinds of a cluster's YAML that live in no namespace although the mesh does not read them;
 * any other unknown kind is taken to be namespaced.
 */
const OTHER_CLUSTER_KINDS = new Set([
  ...['ClusterRole', 'ClusterRoleBinding', 'CustomResourceDefinition', 'PersistentVolume'],
  ...['StorageClass', 'PriorityClass', 'ClusterTrustBundle', 'APIService', 'IngressClass'],
  ...['MutatingWebhookConfiguration', 'ValidatingWebhookConfiguration', 'RuntimeClass'],
  ...['CSIDriver', 'CSINode', 'CertificateSigningRequest', 'ValidatingAdmissionPolicy'],
]);

/**
 * Policies of the mesh that are enforced upstream and not by this version: they are carried, and reported, because
 * whoever wrote one counts on it.
 */
const UNENFORCED_KINDS: ReadonlyMap<string, string> = new Map([
  ['networking.istio.io/Sidecar', 'has no effect: there are no sidecars'],
  ['networking.istio.io/EnvoyFilter', 'has no effect: there is no Envoy'],
  ['extensions.istio.io/WasmPlugin', 'has no effect: there is no Envoy'],
]);

const definitions: ReadonlyMap<string, KindDefinition> = new Map(
  KINDS.map((each) => [`${each.group}/${each.kind}`, each]),
);

export function findKind(group: string, kind: string): KindDefinition | undefined {
  return definitions.get(`${group}/${kind}`);
}

/** Whether objects of the kind live in a namespace. */
export function isNamespaced(group: string, kind: string): boolean {
  return findKind(group, kind)?.namespaced ?? !OTHER_CLUSTER_KINDS.has(kind);
}

/** Decodes the fields of an object's kind; a kind that the mesh does not read is carried as it is. */
export function decodeKind(base: ObjectBase, report: Report): KubernetesObject {
  const { group, kind } = base.ref;
  const found = findKind(group, kind);
  const effect = UNENFORCED_KINDS.get(`${group}/${kind}`);
  if (effect !== undefined) report.warn(['kind'], `${kind} ${effect}`);
  if (found === undefined) return { ...base, kind: 'Other' };
  const version = base.apiVersion.split('/').at(-1) ?? '';
  if (!found.versions.includes(version))
    report.error(
      ['apiVersion'],
      `version ${version} of ${kind} is not known`,
      `use ${group === '' ? '' : `${group}/`}${found.versions[0] ?? ''}`,
    );
  return found.decode(base, report);
}

export function isKind<K extends Kind>(object: KubernetesObject, kind: K): object is ObjectOf<K> {
  return object.kind === kind;
}
