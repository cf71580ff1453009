import { formatObject } from '../../mesh/kubernetes/object.ts';
import type { VirtualService } from '../../mesh/kubernetes/virtual-service.ts';
import type { Picture } from '../snapshot.ts';
import { isExported, resolveHost } from './hosts.ts';
import { findEntry } from './routes/backends.ts';
import { attachmentsOf, portsOf, PRODUCER, type RouteParent } from './routes/parents.ts';
import { objectWaypoint, serviceOfHost } from './services.ts';
import type { Condition, MeshSettings } from './settings.ts';
import { isForMesh, MESH_GATEWAY } from './virtual/parts.ts';
import { virtualHttpRules, virtualTcpRoute } from './virtual/rules.ts';
import { virtualServicesOf } from './virtual-services.ts';
import { namespaceOfFirst } from './waypoint-namespace.ts';

/** How much of a VirtualService is done, and for which services none of it. */
export function virtualServiceCondition(
  picture: Picture,
  settings: MeshSettings,
  virtual: VirtualService,
): Condition {
  const { spec } = virtual;
  // What it delegates, and what is delegated to it, is told where the hosts are.
  if (spec.hosts.length === 0)
    return accepted('Accepted', ['has no hosts: it is used where another one delegates to it']);
  if (!isForMesh(spec.gateways))
    return accepted('UnsupportedValue', [
      `has no effect: none of its gateways is ${MESH_GATEWAY}, and requests are routed for clients inside the mesh alone`,
    ]);
  const notes = new Set<string>();
  const note = (message: string): void => {
    notes.add(message);
  };
  for (const gateway of spec.gateways)
    if (gateway !== MESH_GATEWAY) note(`gateway ${gateway} has no effect`);
  if (spec.tls.length > 0)
    note('tls has no effect: a waypoint does not see names of servers in TLS');
  let isConflicted = false;
  for (const written of spec.hosts) {
    const host = resolveHost(written, virtual.ref.namespace, settings);
    if (host.startsWith('*')) {
      rulesNotes(picture, settings, virtual, undefined, note);
      continue;
    }
    const parent: RouteParent | undefined =
      serviceOfHost(picture, settings, host) ?? findEntry(picture, host, virtual.ref.namespace);
    if (parent === undefined) note(`no service has the host ${host}`);
    else {
      const why = whyWithoutEffect(picture, settings, virtual, host, parent);
      if (why !== undefined) note(`has no effect for ${host}: ${why.message}`);
      isConflicted ||= why?.reason === 'Conflicted';
    }
    rulesNotes(picture, settings, virtual, parent && { parent, host }, note);
  }
  if (notes.size === 0) return accepted('Accepted', []);
  return accepted(isConflicted ? 'Conflicted' : 'UnsupportedValue', [...notes]);
}

function accepted(reason: string, notes: readonly string[]): Condition {
  const status = reason === 'Conflicted' ? 'False' : 'True';
  return { type: 'halo.dev/Accepted', status, reason, message: notes.join('; ') };
}

type WithoutEffect = Readonly<{ reason: 'Conflicted' | 'NoWaypoint'; message: string }>;

function whyWithoutEffect(
  picture: Picture,
  settings: MeshSettings,
  virtual: VirtualService,
  host: string,
  parent: RouteParent,
): WithoutEffect | undefined {
  const { gateways } = objectWaypoint(picture, settings, parent);
  if (gateways.size === 0)
    return { reason: 'NoWaypoint', message: `${formatObject(parent.ref)} has no waypoint` };
  const waypointNamespace = namespaceOfFirst(gateways);
  const { namespace } = virtual.ref;
  if (namespace !== parent.ref.namespace && namespace !== waypointNamespace)
    return {
      reason: 'NoWaypoint',
      message: 'only those of the namespaces of the service and of its waypoint are read',
    };
  if (!isExported(virtual.spec.exportTo, namespace, waypointNamespace))
    return { reason: 'NoWaypoint', message: `it is not exported to ${waypointNamespace}` };
  const producer = attachmentsOf(picture, parent).get(PRODUCER);
  const [first] = [...(producer?.values() ?? [])].flat();
  if (first !== undefined)
    return {
      reason: 'Conflicted',
      message: `${formatObject(first.ref)} routes it, and the two are not mixed`,
    };
  const target = { namespace: parent.ref.namespace, hostname: host, waypointNamespace };
  if (virtualServicesOf(picture, settings, target).includes(virtual)) return undefined;
  return { reason: 'NoWaypoint', message: 'another VirtualService has a more exact host' };
}

/** Stands for any port where no service is known. */
const ANY_PORT = 80;

/** What translation says of its rules, for all ports of a service together. */
function rulesNotes(
  picture: Picture,
  settings: MeshSettings,
  virtual: VirtualService,
  known: Readonly<{ parent: RouteParent; host: string }> | undefined,
  note: (message: string) => void,
): void {
  const namespace = known?.parent.ref.namespace ?? virtual.ref.namespace;
  const gateways = known && objectWaypoint(picture, settings, known.parent).gateways;
  const waypointNamespace =
    gateways === undefined || gateways.size === 0 ? namespace : namespaceOfFirst(gateways);
  const ports = known === undefined ? [ANY_PORT] : portsOf(known.parent).map(({ port }) => port);
  for (const port of ports) {
    const target = { namespace, hostname: known?.host ?? '*', port, waypointNamespace };
    virtualHttpRules({ picture, settings, virtual, target, note });
    virtualTcpRoute({ picture, settings, virtual, target, note });
  }
}
