import type { BackendPolicy } from '../../mesh/kubernetes/backend-policy.ts';
import { WAYPOINT_CLASS } from '../../mesh/kubernetes/labels.ts';
import { compareByAge, formatObject } from '../../mesh/kubernetes/object.ts';
import type { RateLimitPolicy } from '../../mesh/kubernetes/rate-limit-policy.ts';
import type { ObjectOf } from '../../mesh/kubernetes/resources.ts';
import type { TargetReference } from '../../mesh/kubernetes/security.ts';
import type { Picture } from '../snapshot.ts';
import type { RouteParent } from './routes/parents.ts';
import { isIngress } from './gateway/ingress-class.ts';
import { objectWaypoint } from './services.ts';
import type { Condition, MeshSettings } from './settings.ts';

// What our own policies, which are attached by targetRefs and of which a target has one, have in common.

export type AttachedPolicy = RateLimitPolicy | BackendPolicy;

type Target = Pick<TargetReference, 'kind' | 'name'>;

/** Of several policies of one target the oldest counts: two of one thing are one too many. */
export function policyOf<K extends AttachedPolicy['kind']>(
  picture: Picture,
  kind: K,
  namespace: string,
  target: Target,
): ObjectOf<K> | undefined {
  const [first] = [...picture.targetingPolicies(kind, namespace, target)].sort(compareByAge);
  return first;
}

/**
 * What became of a policy, for its status: one condition for all of its targets.
 *
 * @param hasWaypoint whether any waypoint would follow a policy of that object.
 */
export function attachedCondition(
  picture: Picture,
  settings: MeshSettings,
  policy: AttachedPolicy,
  hasWaypoint: (object: RouteParent) => boolean = (object) =>
    objectWaypoint(picture, settings, object).waypoint !== undefined,
): Condition {
  const { targetRefs } = policy.spec;
  const problems = targetRefs.flatMap((target) => {
    const problem = targetProblem(picture, policy, target, hasWaypoint);
    return problem === undefined ? [] : [problem];
  });
  const [first] = problems;
  const messages = problems.map(({ message }) => message).join('; ');
  if (first !== undefined && problems.length === targetRefs.length)
    return accepted('False', first.reason, messages);
  if (first !== undefined) return accepted('True', 'PartiallyInvalid', messages);
  const targets = targetRefs.map(({ kind, name }) => `${kind} ${name}`).join(', ');
  return accepted('True', 'Accepted', `attached to ${targets}`);
}

function accepted(status: Condition['status'], reason: string, message: string): Condition {
  return { type: 'Accepted', status, reason, message };
}

type Problem = Readonly<{
  reason: 'Invalid' | 'TargetNotFound' | 'AncestorNotBound' | 'Conflicted';
  message: string;
}>;

function targetProblem(
  picture: Picture,
  policy: AttachedPolicy,
  { kind, name }: TargetReference,
  hasWaypoint: (object: RouteParent) => boolean,
): Problem | undefined {
  const { namespace } = policy.ref;
  const shown = `${kind} ${namespace}/${name}`;
  if (kind !== 'Service' && kind !== 'ServiceEntry' && kind !== 'Gateway')
    return { reason: 'Invalid', message: `cannot target ${kind} ${name}` };
  const object = picture.get(kind, namespace, name);
  if (object === undefined) return { reason: 'TargetNotFound', message: `${shown} does not exist` };
  if (object.kind === 'Gateway') {
    const { gatewayClassName } = object.spec;
    if (gatewayClassName !== WAYPOINT_CLASS && !isIngress(picture, object))
      return {
        reason: 'Invalid',
        message: `${shown} is no waypoint or gateway of this mesh: its class is ${gatewayClassName}`,
      };
  } else if (!hasWaypoint(object))
    return {
      reason: 'AncestorNotBound',
      message: `${shown} is not bound to a waypoint, so that nothing enforces the policy`,
    };
  const first = policyOf(picture, policy.kind, namespace, { kind, name });
  if (first === undefined || first.key === policy.key) return undefined;
  return { reason: 'Conflicted', message: `${shown} has the older ${formatObject(first.ref)}` };
}
