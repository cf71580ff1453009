import { INFRA } from './namespaces.ts';

/** A Kubernetes object as a test writes it. */
export type Manifest = Readonly<{
  apiVersion: string;
  kind: string;
  metadata: Readonly<{ name: string; namespace?: string } & Record<string, unknown>>;
}> &
  Readonly<Record<string, unknown>>;

type Fields = Readonly<Record<string, unknown>>;

const GATEWAY_API = 'gateway.networking.k8s.io/v1';

function object(apiVersion: string, kind: string, name: string, namespace: string) {
  return (fields: Fields): Manifest => ({
    ...{ apiVersion, kind, metadata: { name, namespace } },
    ...fields,
  });
}

/** A Gateway of class istio; `listeners` as their spec has them, on port 80 unless they say another. */
export function gateway(
  name: string,
  listeners: readonly Fields[],
  { namespace = INFRA, spec = {} }: Readonly<{ namespace?: string; spec?: Fields }> = {},
): Manifest {
  return object(
    GATEWAY_API,
    'Gateway',
    name,
    namespace,
  )({
    spec: {
      gatewayClassName: 'istio',
      listeners: listeners.map((listener) => ({ port: 80, protocol: 'HTTP', ...listener })),
      ...spec,
    },
  });
}

/** Where routes may come from, for a listener. */
export function routesFrom(
  from: 'All' | 'Same' | 'None' | Readonly<Record<string, string>>,
): Fields {
  const namespaces =
    typeof from === 'string' ? { from } : { from: 'Selector', selector: { matchLabels: from } };
  return { allowedRoutes: { namespaces } };
}

/** Names of Gateways of the infrastructure's namespace, or whole references. */
export type Parents = readonly (string | Fields)[];

export type RouteOptions = Readonly<{ namespace?: string; hostnames?: readonly string[] }>;

export function route(
  kind: 'HTTPRoute' | 'GRPCRoute' | 'TCPRoute' | 'UDPRoute' | 'TLSRoute',
  name: string,
  parents: Parents,
  rules: readonly Fields[] | undefined,
  { namespace = INFRA, hostnames }: RouteOptions = {},
): Manifest {
  return object(
    GATEWAY_API,
    kind,
    name,
    namespace,
  )({
    spec: {
      parentRefs: parents.map((parent) =>
        typeof parent === 'string' ? { name: parent, namespace: INFRA } : parent,
      ),
      ...(hostnames && { hostnames }),
      ...(rules && { rules }),
    },
  });
}

export function httpRoute(
  name: string,
  parents: Parents,
  rules: readonly Fields[] | undefined,
  options: RouteOptions = {},
): Manifest {
  return route('HTTPRoute', name, parents, rules, options);
}

/** A share of a backend: `infra-backend-v1`, at its port for HTTP unless told. */
export function to(name: string, more: Fields = {}): Fields {
  return { backendRefs: [{ name, port: 8080, ...more }] };
}

/** A rule by one path, `exact:/one` or `/prefix`. */
export function path(value: string): Fields {
  const exact = value.startsWith('exact:');
  return {
    path: { type: exact ? 'Exact' : 'PathPrefix', value: exact ? value.slice(6) : value },
  };
}

export function headers(...fields: readonly (readonly [name: string, value: string])[]): Fields {
  return { headers: fields.map(([name, value]) => ({ name, value })) };
}

/** A rule for some matches. */
export function when(matches: readonly Fields[], more: Fields): Fields {
  return { matches, ...more };
}

export function grant(
  name: string,
  namespace: string,
  from: Readonly<{ kind: string; namespace: string }>,
  target: Readonly<{ kind: string; name?: string; group?: string }>,
): Manifest {
  return object(
    'gateway.networking.k8s.io/v1beta1',
    'ReferenceGrant',
    name,
    namespace,
  )({
    spec: {
      from: [{ group: 'gateway.networking.k8s.io', ...from }],
      to: [{ group: '', ...target }],
    },
  });
}

export function service(name: string, spec: Fields, namespace: string = INFRA): Manifest {
  return object('v1', 'Service', name, namespace)({ spec });
}
