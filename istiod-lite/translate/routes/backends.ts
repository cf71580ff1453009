import type { BackendTarget } from '../../../mesh/model/http-filter.ts';
import { serviceKey } from '../../../mesh/model/service.ts';
import { compareByAge } from '../../../mesh/kubernetes/object.ts';
import { ISTIO_GROUP, type BackendObject } from '../../../mesh/kubernetes/route-references.ts';
import type { Service } from '../../../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../../../mesh/kubernetes/networking.ts';
import type { Picture } from '../../snapshot.ts';
import { protocolOf } from '../ports.ts';
import { serviceHostname } from '../names.ts';
import { serviceOfHost } from '../services.ts';
import type { MeshSettings } from '../settings.ts';

/** Why a part of a route cannot be done, with upstream's reason of ResolvedRefs. */
export type ReferenceProblem = Readonly<{
  reason:
    | 'InvalidKind'
    | 'BackendNotFound'
    | 'UnsupportedProtocol'
    | 'InvalidFilter'
    | 'RefNotPermitted';
  message: string;
}>;

/** What a route sends to its backends. */
export type Carried = 'requests' | 'bytes' | 'datagrams';

export type ResolvedBackend = Readonly<{ target: BackendTarget } | { problem: ReferenceProblem }>;

/**
 * Where a reference of a route leads: to a Service, or to a host that a Service or ServiceEntry has. Routes of Services
 * need no ReferenceGrant. GEP-1294.
 *
 * @param namespace the route's.
 * @param carried what the route sends there.
 */
export function resolveBackend(
  picture: Picture,
  settings: MeshSettings,
  namespace: string,
  ref: BackendObject,
  carried: Carried,
): ResolvedBackend {
  const { group, kind, name, port } = ref;
  if (group === '' && kind === 'Service') {
    const service = picture.get('Service', ref.namespace ?? namespace, name);
    if (service === undefined)
      return notFound(`Service ${ref.namespace ?? namespace}/${name} does not exist`);
    return resolveService(settings, service, port, carried);
  }
  if (group === ISTIO_GROUP && kind === 'Hostname') {
    const service = serviceOfHost(picture, settings, name);
    if (service !== undefined) return resolveService(settings, service, port, carried);
    const entry = findEntry(picture, name, namespace);
    if (entry === undefined) return notFound(`no Service or ServiceEntry has host ${name}`);
    return resolveEntry(entry, name, port, carried);
  }
  const found = group === '' ? kind : `${group}/${kind}`;
  return { problem: { reason: 'InvalidKind', message: `${found} is no kind of backend` } };
}

function resolveService(
  settings: MeshSettings,
  { spec, ref }: Service,
  number: number | undefined,
  carried: Carried,
): ResolvedBackend {
  const name = `Service ${ref.namespace}/${ref.name}`;
  if (spec.type === 'ExternalName')
    return notFound(`${name} is of type ExternalName: it is reached without the mesh`);
  const protocol = carried === 'datagrams' ? 'UDP' : 'TCP';
  const port = spec.ports.find((each) => each.port === number && each.protocol === protocol);
  if (port === undefined)
    return notFound(`${name} has no ${protocol} port ${number ?? '(none is named)'}`);
  const problem = protocolProblem(name, port.port, port.appProtocol, port.name, carried);
  if (problem !== undefined) return { problem };
  const host = serviceHostname(ref.namespace, ref.name, settings);
  return { target: { service: serviceKey(ref.namespace, host), port: port.port } };
}

function resolveEntry(
  { spec, ref }: ServiceEntry,
  host: string,
  number: number | undefined,
  carried: Carried,
): ResolvedBackend {
  const name = `ServiceEntry ${ref.namespace}/${ref.name}`;
  const port = spec.ports.find((each) => each.number === number && each.protocol !== 'UDP');
  if (port === undefined) return notFound(`${name} has no TCP port ${number ?? '(none is named)'}`);
  const problem = protocolProblem(name, port.number, port.protocol, port.name, carried);
  if (problem !== undefined) return { problem };
  return { target: { service: serviceKey(ref.namespace, host), port: port.number } };
}

/** Of several in one mesh: that of the route's namespace, then the oldest. */
export function findEntry(
  picture: Picture,
  host: string,
  namespace: string,
): ServiceEntry | undefined {
  const entries = [...picture.entriesOfHost(host)].sort(compareByAge);
  return entries.find(({ ref }) => ref.namespace === namespace) ?? entries[0];
}

/** TLS is let through: a traffic policy may say that the waypoint begins it. */
function protocolProblem(
  name: string,
  port: number,
  declared: string,
  portName: string,
  carried: Carried,
): ReferenceProblem | undefined {
  if (carried !== 'requests') return undefined;
  const protocol = protocolOf(declared, portName);
  const unknown = protocol === 'UNKNOWN' && declared.startsWith('kubernetes.io/');
  if (protocol !== 'TCP' && !unknown) return undefined;
  const said = declared === '' ? portName : declared;
  return {
    reason: 'UnsupportedProtocol',
    message: `port ${port} of ${name} is declared ${JSON.stringify(said)}, which carries no requests that a route could send`,
  };
}

function notFound(message: string): ResolvedBackend {
  return { problem: { reason: 'BackendNotFound', message } };
}
