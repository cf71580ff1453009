import {
  policyKey,
  type AuthorizationPolicy,
  type PolicyClause,
  type PolicyKey,
  type PolicyMatch,
  type PolicyRule,
} from '../../mesh/model/authorization.ts';
import { compareByAge } from '../../mesh/kubernetes/object.ts';
import type { MtlsMode, PeerAuthentication } from '../../mesh/kubernetes/security.ts';
import { labelsMatch, type Labels } from '../../mesh/kubernetes/selector.ts';
import type { Picture } from '../snapshot.ts';
import { EMPTY_MATCH } from './policies.ts';
import type { MeshSettings } from './settings.ts';

/** Name of the policy that refuses callers without identity; istio/istio pilot ambient, staticStrictPolicyName. */
const STATIC_STRICT = 'istio_converted_static_strict';
const CONVERTED_PREFIX = 'converted_peer_authentication_';

const NO_IDENTITY: PolicyMatch = { ...EMPTY_MATCH, notPrincipals: [{ kind: 'presence' }] };
const DENY_PLAINTEXT: PolicyRule = { clauses: [{ matches: [NO_IDENTITY] }] };

/** The policy that every workload in STRICT mode names; it is there once the mesh has any PeerAuthentication. */
export function staticStrictPolicy(settings: MeshSettings): AuthorizationPolicy {
  return {
    ...{ name: STATIC_STRICT, namespace: settings.rootNamespace, scope: 'WORKLOAD_SELECTOR' },
    ...{ action: 'DENY', dryRun: false, rules: [DENY_PLAINTEXT] },
  };
}

/** The policy of a PeerAuthentication whose ports differ from its mode, or nothing. */
export function translatePeerAuthentication(
  picture: Picture,
  settings: MeshSettings,
  policy: PeerAuthentication,
): AuthorizationPolicy | undefined {
  const { namespace, name } = policy.ref;
  if (!selects(policy) || namespace === settings.rootNamespace) return undefined;
  const strict = isStrict(effectiveMode(picture, settings, policy));
  const ports = differingPorts(policy, strict);
  if (ports.length === 0) return undefined;
  const rules = strict
    ? [exceptPorts(ports)]
    : ports.map((port) => ({
        clauses: [{ matches: [{ ...NO_IDENTITY, destinationPorts: [port] }] }],
      }));
  return {
    ...{ name: `${CONVERTED_PREFIX}${name}`, namespace, scope: 'WORKLOAD_SELECTOR' },
    ...{ action: 'DENY', dryRun: false, rules },
  };
}

/** The policies by which a workload's mTLS mode is enforced. */
export function mtlsPolicies(
  picture: Picture,
  settings: MeshSettings,
  namespace: string,
  labels: Labels,
): PolicyKey[] {
  const own = workloadLevel(picture, settings, namespace, labels);
  const mode =
    own === undefined
      ? namespaceMode(picture, settings, namespace)
      : effectiveMode(picture, settings, own);
  const strict = isStrict(mode);
  // It stands in place of the static one: both would apply, and the ports it exempts would be denied.
  if (own !== undefined && differingPorts(own, strict).length > 0)
    return [policyKey(namespace, `${CONVERTED_PREFIX}${own.ref.name}`)];
  return strict ? [policyKey(settings.rootNamespace, STATIC_STRICT)] : [];
}

function exceptPorts(ports: readonly number[]): PolicyRule {
  const exempt: PolicyClause[] = ports.map((port) => ({
    matches: [{ ...EMPTY_MATCH, notDestinationPorts: [port] }],
  }));
  return { clauses: [...exempt, { matches: [NO_IDENTITY] }] };
}

/** Ports whose mode is not the effective one, in order. */
function differingPorts(policy: PeerAuthentication, strict: boolean): number[] {
  return [...policy.spec.portLevelMtls]
    .filter(([, { mode }]) => mode !== 'UNSET' && isStrict(mode) !== strict)
    .map(([port]) => Number(port))
    .sort((a, b) => a - b);
}

function isStrict(mode: MtlsMode): boolean {
  return mode === 'STRICT';
}

function selects(policy: PeerAuthentication): boolean {
  return (policy.spec.selector?.matchLabels.size ?? 0) > 0;
}

/** A policy's own mode, or what it inherits. */
function effectiveMode(
  picture: Picture,
  settings: MeshSettings,
  policy: PeerAuthentication,
): MtlsMode {
  const { mode } = policy.spec.mtls;
  return mode === 'UNSET' ? namespaceMode(picture, settings, policy.ref.namespace) : mode;
}

/** The namespace's mode, else the mesh's, else PERMISSIVE. */
function namespaceMode(picture: Picture, settings: MeshSettings, namespace: string): MtlsMode {
  for (const level of new Set([namespace, settings.rootNamespace])) {
    const mode = oldest(picture, level, (policy) => !selects(policy))?.spec.mtls.mode ?? 'UNSET';
    if (mode !== 'UNSET') return mode;
  }
  return 'PERMISSIVE';
}

/** Selectors in the root namespace are ignored, as upstream does. */
function workloadLevel(
  picture: Picture,
  settings: MeshSettings,
  namespace: string,
  labels: Labels,
): PeerAuthentication | undefined {
  if (namespace === settings.rootNamespace) return undefined;
  return oldest(
    picture,
    namespace,
    (policy) =>
      selects(policy) && labelsMatch(policy.spec.selector?.matchLabels ?? new Map(), labels),
  );
}

function oldest(
  picture: Picture,
  namespace: string,
  accept: (policy: PeerAuthentication) => boolean,
): PeerAuthentication | undefined {
  let found: PeerAuthentication | undefined;
  for (const policy of picture.list('PeerAuthentication', namespace))
    if (accept(policy) && (found === undefined || compareByAge(policy, found) < 0)) found = policy;
  return found;
}
