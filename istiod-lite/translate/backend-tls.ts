import type {
  BackendTlsPolicy,
  BackendTlsTarget,
} from '../../mesh/kubernetes/backend-tls-policy.ts';
import type { Service } from '../../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';
import { compareByAge, formatObject } from '../../mesh/kubernetes/object.ts';
import { GATEWAY_GROUP, ISTIO_GROUP } from '../../mesh/kubernetes/route-references.ts';
import type { ServiceTrafficPolicy, TrafficPolicy } from '../../mesh/model/traffic-policy.ts';
import type { Picture } from '../snapshot.ts';
import { rootsOf } from './credentials.ts';
import { sendersTo } from './routed-by.ts';
import { portsOf, type RouteParent } from './routes/parents.ts';
import { serviceHostname } from './names.ts';
import { objectWaypoint } from './services.ts';
import type { Condition, MeshSettings, PolicyAncestorStatus } from './settings.ts';
import { NO_CREDENTIALS, type TlsChoice } from './upstream-tls.ts';

/** As upstream's for everything of the Gateway API. */
const CONTROLLER = 'istio.io/gateway-controller';
const MAX_ANCESTORS = 16;

/**
 * What BackendTLSPolicies of a service add to what is written of it: over the TLS of a DestinationRule, for who wants TLS
 * must not get less. A policy that cannot be done refuses what it is for.
 */
export function withBackendTls(
  picture: Picture,
  parent: RouteParent,
  traffic: ServiceTrafficPolicy,
): ServiceTrafficPolicy {
  const choices = choicesFor(picture, parent);
  if (choices.size === 0) return traffic;
  const whole = choices.get(undefined);
  return {
    ...traffic,
    policy: withChoice(traffic.policy, whole),
    ports: portsWith(traffic.ports, traffic.policy, choices),
    subsets: traffic.subsets.map((subset) => ({
      ...subset,
      policy: withChoice(subset.policy, whole),
      ports: portsWith(subset.ports, subset.policy, choices),
    })),
  };
}

type Choices = ReadonlyMap<number | undefined, TlsChoice>;

function portsWith(
  ports: ReadonlyMap<number, TrafficPolicy>,
  policy: TrafficPolicy,
  choices: Choices,
): Map<number, TrafficPolicy> {
  const numbers = new Set([...ports.keys(), ...choices.keys()]);
  return new Map(
    [...numbers].flatMap((port) =>
      port === undefined
        ? []
        : [
            [
              port,
              withChoice(ports.get(port) ?? policy, choices.get(port) ?? choices.get(undefined)),
            ],
          ],
    ),
  );
}

function withChoice(policy: TrafficPolicy, choice: TlsChoice | undefined): TrafficPolicy {
  return choice === undefined ? policy : { ...policy, ...choice };
}

/** By port; `undefined` for those that no policy names. */
function choicesFor(picture: Picture, parent: RouteParent): Choices {
  const choices = new Map<number | undefined, TlsChoice>();
  for (const policy of policiesOf(picture, parent))
    for (const target of targetsAt(policy, parent)) {
      const port = portOf(parent, target);
      if (port !== 'missing' && !choices.has(port))
        choices.set(port, resolve(picture, policy).choice);
    }
  return choices;
}

/** The oldest first. */
function policiesOf(picture: Picture, { kind, ref }: RouteParent): BackendTlsPolicy[] {
  const target = { kind, name: ref.name };
  return [...picture.targetingPolicies('BackendTLSPolicy', ref.namespace, target)].sort(
    compareByAge,
  );
}

function targetsAt({ spec }: BackendTlsPolicy, { kind, ref }: RouteParent): BackendTlsTarget[] {
  const group = kind === 'Service' ? '' : ISTIO_GROUP;
  return spec.targetRefs.filter(
    (target) => target.group === group && target.kind === kind && target.name === ref.name,
  );
}

function portOf(
  parent: RouteParent,
  { sectionName }: BackendTlsTarget,
): number | undefined | 'missing' {
  if (sectionName === undefined) return undefined;
  return portsOf(parent).find(({ name }) => name === sectionName)?.port ?? 'missing';
}

type Resolved = Readonly<{
  choice: TlsChoice;
  /** Reason and message. */
  invalid?: readonly [reason: string, message: string];
  unresolved?: readonly [reason: string, message: string];
}>;

/** What a policy asks for, by itself. */
function resolve(picture: Picture, { spec, ref }: BackendTlsPolicy): Resolved {
  const { hostname, subjectAltNames, caCertificateRefs, wellKnownCACertificates } = spec.validation;
  const refuse = (
    reason: string,
    message: string,
    unresolved: Resolved['unresolved'],
  ): Resolved => ({
    choice: { problem: `${formatObject(ref)}: ${message}` },
    invalid: [reason, message],
    ...(unresolved && { unresolved }),
  });
  if (wellKnownCACertificates !== undefined && wellKnownCACertificates !== 'System')
    return refuse(
      'Invalid',
      `wellKnownCACertificates ${wellKnownCACertificates} is unknown`,
      undefined,
    );
  const roots: string[] = [];
  let unresolved: Resolved['unresolved'];
  for (const { group, kind, name } of caCertificateRefs) {
    if (group !== '' || (kind !== 'ConfigMap' && kind !== 'Secret')) {
      const found = group === '' ? kind : `${group}/${kind}`;
      unresolved ??= ['InvalidKind', `${found} holds no certificates of authorities`];
      continue;
    }
    const object = picture.get(kind, ref.namespace, name);
    const found =
      object === undefined
        ? { problem: `${kind} ${ref.namespace}/${name} does not exist` }
        : rootsOf(object);
    if ('problem' in found) unresolved ??= ['InvalidCACertificateRef', found.problem];
    else roots.push(found.rootsPem);
  }
  if (unresolved !== undefined && roots.length === 0)
    return refuse('NoValidCACertificate', unresolved[1], unresolved);
  const names = subjectAltNames.map((name) => name.hostname ?? name.uri ?? '');
  return {
    choice: {
      tls: {
        ...{ mode: 'simple', ...NO_CREDENTIALS, roots: roots.join('\n'), sni: hostname },
        subjectAltNames: names.length === 0 ? [hostname] : names,
        insecureSkipVerify: false,
      },
    },
    ...(unresolved && { unresolved }),
  };
}

/** What the status of a policy says of each Gateway that sends to its targets. */
export function backendTlsAncestors(
  picture: Picture,
  settings: MeshSettings,
  policy: BackendTlsPolicy,
): PolicyAncestorStatus[] {
  const parents = targetParents(picture, policy);
  const gateways = new Set(parents.flatMap((parent) => gatewaysOf(picture, settings, parent)));
  const conditions = conditionsOf(picture, policy, parents);
  return [...gateways]
    .sort()
    .slice(0, MAX_ANCESTORS)
    .map((gateway) => {
      const [namespace = '', name = ''] = gateway.split('/');
      return {
        ancestorRef: { group: GATEWAY_GROUP, kind: 'Gateway', namespace, name },
        ...{ controllerName: CONTROLLER, observedGeneration: policy.metadata.generation },
        conditions,
      };
    });
}

function targetParents(picture: Picture, { spec, ref }: BackendTlsPolicy): RouteParent[] {
  const parents = spec.targetRefs.map(({ group, kind, name }): RouteParent | undefined => {
    if (group === '' && kind === 'Service') return picture.get(kind, ref.namespace, name);
    if (group === ISTIO_GROUP && kind === 'ServiceEntry')
      return picture.get(kind, ref.namespace, name);
    return undefined;
  });
  return [...new Set(parents)].filter((parent) => parent !== undefined);
}

/** Waypoints and gateways that send to a service. */
function gatewaysOf(
  picture: Picture,
  settings: MeshSettings,
  parent: Service | ServiceEntry,
): string[] {
  const { namespace, name } = parent.ref;
  const hostnames =
    parent.kind === 'Service' ? [serviceHostname(namespace, name, settings)] : parent.spec.hosts;
  const senders = hostnames.flatMap((hostname) => sendersTo(picture, settings, parent, hostname));
  return [
    ...objectWaypoint(picture, settings, parent).gateways,
    ...senders.map((sender) =>
      'gateway' in sender
        ? `${sender.gateway.ref.namespace}/${sender.gateway.ref.name}`
        : sender.waypoint,
    ),
  ];
}

function conditionsOf(
  picture: Picture,
  policy: BackendTlsPolicy,
  parents: readonly RouteParent[],
): Condition[] {
  const { invalid, unresolved } = resolve(picture, policy);
  const notes: string[] = [];
  let inForce = 0;
  for (const parent of parents) {
    const others = policiesOf(picture, parent).filter((other) => compareByAge(other, policy) < 0);
    for (const target of targetsAt(policy, parent)) {
      const port = portOf(parent, target);
      const first = others.find((other) =>
        targetsAt(other, parent).some((each) => portOf(parent, each) === port),
      );
      if (port === 'missing')
        notes.push(`${formatObject(parent.ref)} has no port ${target.sectionName ?? ''}`);
      else if (first !== undefined)
        notes.push(`${formatObject(first.ref)} is older and holds for ${formatObject(parent.ref)}`);
      else inForce++;
    }
  }
  const isConflicted = inForce === 0 && notes.some((note) => note.includes(' is older '));
  return [
    accepted(
      invalid ?? (inForce > 0 ? undefined : [isConflicted ? 'Conflicted' : 'TargetNotFound', '']),
      notes,
    ),
    {
      ...{ type: 'ResolvedRefs', status: unresolved === undefined ? 'True' : 'False' },
      reason: unresolved?.[0] ?? 'ResolvedRefs',
      message: unresolved?.[1] ?? 'All references resolved',
    },
  ];
}

function accepted(
  refused: readonly [reason: string, message: string] | undefined,
  notes: readonly string[],
): Condition {
  const [reason, said] = refused ?? ['Accepted', 'Policy is in force'];
  const message = [said, ...notes].filter((text) => text !== '').join('; ');
  return { type: 'Accepted', status: refused === undefined ? 'True' : 'False', reason, message };
}
