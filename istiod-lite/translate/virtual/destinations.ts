import type { BackendTarget } from '../../../mesh/model/http-filter.ts';
import { serviceKey } from '../../../mesh/model/service.ts';
import { ISTIO_GROUP } from '../../../mesh/kubernetes/route-references.ts';
import type { Destination } from '../../../mesh/kubernetes/virtual-service.ts';
import { resolveHost } from '../hosts.ts';
import { findEntry, resolveBackend } from '../routes/backends.ts';
import { portsOf, type RouteParent } from '../routes/parents.ts';
import { serviceOfHost } from '../services.ts';
import { findTrafficPolicy } from '../traffic-policies.ts';
import type { VirtualParts } from './parts.ts';

/** Where a destination is, or why it is nowhere. */
export type ResolvedDestination = Readonly<{ target: BackendTarget } | { problem: string }>;

/**
 * Finds the service of a destination. Without a port it is the only one that the service has, or else that which was asked.
 *
 * @param carried what is sent there.
 */
export function resolveDestination(
  parts: VirtualParts,
  { host, subset, port }: Destination,
  carried: 'requests' | 'bytes',
): ResolvedDestination {
  const { picture, settings, virtual, target } = parts;
  const { namespace } = virtual.ref;
  const hostname = resolveHost(host, namespace, settings);
  const parent: RouteParent | undefined =
    serviceOfHost(picture, settings, hostname) ?? findEntry(picture, hostname, namespace);
  const ports = parent === undefined ? [] : portsOf(parent);
  const only = ports.length === 1 ? ports[0]?.port : undefined;
  const resolved = resolveBackend(
    ...([picture, settings, namespace] as const),
    {
      ...{ group: ISTIO_GROUP, kind: 'Hostname', name: hostname },
      ...{ namespace: undefined, port: port?.number ?? only ?? target.port },
    },
    carried,
  );
  if ('problem' in resolved) return { problem: resolved.problem.message };
  if (subset === undefined || parent === undefined) return resolved;
  const { namespace: owner } = parent.ref;
  const { waypointNamespace } = target;
  const policy = findTrafficPolicy(picture, settings, {
    ...{ namespace: owner, hostname, waypointNamespace },
  });
  if (policy?.subsets.some(({ name }) => name === subset) !== true)
    return { problem: `no DestinationRule has subset ${subset} of ${serviceKey(owner, hostname)}` };
  return { target: { ...resolved.target, subset } };
}
