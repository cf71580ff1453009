import type { AuthorizationPolicy, TargetReference } from '../../mesh/kubernetes/security.ts';
import { targetsOf } from '../../mesh/kubernetes/security.ts';
import type { Picture } from '../snapshot.ts';
import { isIngress } from './gateway/ingress-class.ts';
import { translateHttpPolicy, unknownAttributesOf } from './http-policies.ts';
import { meshConfigOf } from './mesh-config.ts';
import { objectWaypoint } from './services.ts';
import type { Condition, MeshSettings } from './settings.ts';

/** The class of Gateways that are waypoints. */
const WAYPOINT_CLASS = 'istio-waypoint';

type Outcome = Readonly<
  | { bound: true }
  | { bound: false; reason: 'Invalid' | 'AncestorNotBound' | 'TargetNotFound'; message: string }
>;

const BOUND: Outcome = { bound: true };

/** What waypoints make of a policy with targets: one condition for all of them. `undefined` without a target. */
export function waypointAccepted(
  picture: Picture,
  settings: MeshSettings,
  policy: AuthorizationPolicy,
): Condition | undefined {
  const targets = targetsOf(policy);
  if (targets.length === 0) return undefined;
  const outcomes = targets.map((target) => outcomeOf(picture, settings, policy, target));
  const failed = outcomes.filter((outcome) => !outcome.bound);
  const [first] = failed;
  const messages = failed.map(({ message }) => message).join('; ');
  const condition = (status: Condition['status'], reason: string, message: string): Condition => ({
    type: 'WaypointAccepted',
    ...{ status, reason, message },
  });
  if (first !== undefined && failed.length === outcomes.length)
    return condition('False', first.reason, messages);
  const notes = notesOf(picture, settings, policy);
  if (first !== undefined)
    return condition('True', 'PartiallyInvalid', [messages, ...notes].join('. '));
  const attached = `attached to ${targets.map(({ kind, name }) => `${kind} ${name}`).join(', ')}`;
  return condition('True', 'Accepted', [attached, ...notes].join('. '));
}

function outcomeOf(
  picture: Picture,
  settings: MeshSettings,
  policy: AuthorizationPolicy,
  { kind, name }: TargetReference,
): Outcome {
  const { namespace } = policy.ref;
  const missing: Outcome = {
    ...{ bound: false, reason: 'TargetNotFound' },
    message: `${kind} ${namespace}/${name} does not exist`,
  };
  switch (kind) {
    case 'Service':
    case 'ServiceEntry': {
      const object = picture.get(kind, namespace, name);
      if (object === undefined) return missing;
      const { waypoint } = objectWaypoint(picture, settings, object);
      if (waypoint !== undefined) return BOUND;
      const message = `${kind} ${namespace}/${name} is not bound to a waypoint, so that nothing enforces the policy`;
      return { bound: false, reason: 'AncestorNotBound', message };
    }
    case 'Gateway': {
      const gateway = picture.get('Gateway', namespace, name);
      if (gateway === undefined) return missing;
      if (gateway.spec.gatewayClassName === WAYPOINT_CLASS || isIngress(picture, gateway))
        return BOUND;
      const message = `Gateway ${namespace}/${name} is no waypoint: its class is ${gateway.spec.gatewayClassName}`;
      return { bound: false, reason: 'AncestorNotBound', message };
    }
    case 'GatewayClass':
      if (namespace !== settings.rootNamespace) {
        const message = `only a policy of the root namespace ${settings.rootNamespace} may target a GatewayClass`;
        return { bound: false, reason: 'Invalid', message };
      }
      return name === WAYPOINT_CLASS || picture.get('GatewayClass', '', name) !== undefined
        ? BOUND
        : { ...missing, message: `GatewayClass ${name} does not exist` };
    default:
      return { bound: false, reason: 'Invalid', message: `cannot target ${kind} ${name}` };
  }
}

/** What of the policy is not as it was written. */
function notesOf(picture: Picture, settings: MeshSettings, policy: AuthorizationPolicy): string[] {
  const { spec } = policy;
  const notes: string[] = [];
  const unknown = [...new Set((spec.rules ?? []).flatMap(unknownAttributesOf))];
  if (unknown.length > 0) {
    const effect =
      spec.action === 'ALLOW'
        ? 'rules with them allow nothing'
        : 'they are left out, so that more is matched than asked for';
    notes.push(`waypoints cannot look at ${unknown.join(', ')}: ${effect}`);
  }
  const { action } = translateHttpPolicy(
    policy,
    settings,
    meshConfigOf(picture, settings).authorizers,
  );
  if (action.kind === 'CUSTOM' && 'problem' in action)
    notes.push(`${action.problem}: requests that match are denied`);
  return notes;
}
