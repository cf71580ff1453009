import { backendsOf } from '../mesh/kubernetes/route-backends.ts';
import { GATEWAY_NAME } from '../mesh/kubernetes/labels.ts';
import type { Kind, KnownObject, ObjectOf } from '../mesh/kubernetes/resources.ts';
import {
  edgeKind,
  ISTIO_GROUP,
  parentKind,
  type ParentKind,
} from '../mesh/kubernetes/route-references.ts';
import { targetsOf } from '../mesh/kubernetes/security.ts';
import { destinationsOf } from '../mesh/kubernetes/virtual-service.ts';
import type { KeySource } from './translate/request-authentication.ts';

/** What a route names as a backend: an object, or by its host. */
export type BackendKind = 'Service' | 'Hostname';

/** What a route names as its parent. */
export type RouteParentKind = ParentKind | 'Gateway' | 'ListenerSet';

/** Kinds with `targetRefs`. */
export type TargetingKind =
  | 'AuthorizationPolicy'
  | 'RequestAuthentication'
  | 'RateLimitPolicy'
  | 'BackendTLSPolicy'
  | 'BackendPolicy';

/**
 * The name of each fact that a picture can be asked for. What an object is a part of is found by the same name, and who
 * has asked is told by it of a change. "|" stands in no name of Kubernetes.
 */
export const factName = {
  kind: (kind: Kind) => kind,
  kindIn: (kind: Kind, namespace: string) => `${kind}|${namespace}`,
  object: (kind: Kind, namespace: string, name: string) => `${kind}|${namespace}|${name}`,
  slicesOfPod: (namespace: string, pod: string) => `slices of pod|${namespace}|${pod}`,
  entriesOfHost: (host: string) => `entries of host|${host}`,
  podsOfGateway: (namespace: string, gateway: string) => `pods of gateway|${namespace}|${gateway}`,
  podsOfAccount: (node: string, namespace: string, serviceAccount: string) =>
    `pods of account|${node}|${namespace}|${serviceAccount}`,
  selectingPolicies: (namespace: string) => `selecting policies|${namespace}`,
  routesOf: (kind: RouteParentKind, namespace: string, name: string) =>
    `routes of|${kind}|${namespace}|${name}`,
  routesTo: (kind: BackendKind, namespace: string, name: string) =>
    `routes to|${kind}|${namespace}|${name}`,
  listenerSetsOf: (namespace: string, name: string) => `listener sets of|${namespace}|${name}`,
  virtualServicesTo: (host: string, namespace: string) =>
    `virtual services to|${namespace}|${host}`,
  targetingPolicies: (
    kind: TargetingKind,
    namespace: string,
    target: Readonly<{ kind: string; name: string }>,
  ) => `policies of target|${kind}|${namespace}|${target.kind}|${target.name}`,
  policiesFallingBackTo: (namespace: string, service: string) =>
    `policies falling back to|${namespace}|${service}`,
  keysOf: (source: KeySource) =>
    `keys|${source.kind}|${source.kind === 'uri' ? source.uri : source.issuer}`,
} as const;

/** Every fact that an object is a part of. */
export function factsOf(object: KnownObject): string[] {
  const { namespace, name } = object.ref;
  const facts = [
    factName.kind(object.kind),
    factName.kindIn(object.kind, namespace),
    factName.object(object.kind, namespace, name),
  ];
  switch (object.kind) {
    case 'EndpointSlice':
      for (const { targetRef } of object.endpoints)
        if (targetRef?.kind === 'Pod')
          facts.push(factName.slicesOfPod(targetRef.namespace || namespace, targetRef.name));
      return facts;
    case 'Pod': {
      const { nodeName, serviceAccountName } = object.spec;
      if (nodeName !== '')
        facts.push(factName.podsOfAccount(nodeName, namespace, serviceAccountName || 'default'));
      const gateway = object.metadata.labels.get(GATEWAY_NAME);
      if (gateway !== undefined) facts.push(factName.podsOfGateway(namespace, gateway));
      return facts;
    }
    case 'ServiceEntry':
      return [...facts, ...object.spec.hosts.map(factName.entriesOfHost)];
    case 'AuthorizationPolicy':
      if (object.spec.selector !== undefined) facts.push(factName.selectingPolicies(namespace));
      return [...facts, ...targetFacts(object)];
    case 'RequestAuthentication':
    case 'RateLimitPolicy':
    case 'BackendTLSPolicy':
      return [...facts, ...targetFacts(object)];
    case 'BackendPolicy': {
      const ref = object.spec.fallback?.backendRef;
      const fallback =
        ref === undefined ? [] : [factName.policiesFallingBackTo(namespace, ref.name)];
      return [...facts, ...targetFacts(object), ...fallback];
    }
    case 'HTTPRoute':
    case 'GRPCRoute':
    case 'TCPRoute':
    case 'TLSRoute':
    case 'UDPRoute': {
      const parents = object.spec.parentRefs.flatMap((ref) => {
        const kind = edgeKind(ref) ?? parentKind(ref);
        if (kind === undefined) return [];
        return [factName.routesOf(kind, ref.namespace ?? namespace, ref.name)];
      });
      const backends = backendsOf(object).flatMap(({ group, kind, ...ref }) => {
        if (group === '' && kind === 'Service')
          return [factName.routesTo(kind, ref.namespace ?? namespace, ref.name)];
        if (group !== ISTIO_GROUP || kind !== 'Hostname') return [];
        return [factName.routesTo(kind, '', ref.name)];
      });
      return [...facts, ...new Set([...parents, ...backends])];
    }
    case 'ListenerSet': {
      const { parentRef } = object.spec;
      const gateway = factName.listenerSetsOf(parentRef.namespace ?? namespace, parentRef.name);
      return [...facts, gateway];
    }
    case 'VirtualService': {
      const hosts = destinationsOf(object).map(({ host }) => host.toLowerCase());
      const destinations = hosts.map((host) =>
        factName.virtualServicesTo(host, host.includes('.') ? '' : namespace),
      );
      return [...facts, ...new Set(destinations)];
    }
    default:
      return facts;
  }
}

function targetFacts(policy: ObjectOf<TargetingKind>): string[] {
  const { kind, ref, spec } = policy;
  const targets = kind === 'BackendTLSPolicy' ? spec.targetRefs : targetsOf(policy);
  return targets.map((target) => factName.targetingPolicies(kind, ref.namespace, target));
}
