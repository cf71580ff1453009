import { familyOf, type AddressFamily, type IpAddress } from '../../base/address.ts';
import type { Locality, Workload, WorkloadUid } from './workload.ts';
import { chooseWeighted } from './weighted-choice.ts';
import type { IpFamilies, LoadBalancing, PortMapping, Service, ServiceKey } from './service.ts';

/** Where the client is; localities are compared with it. */
export type EndpointSource = Readonly<{
  network: string;
  clusterId: string;
  node: string;
  locality: Locality;
}>;

export type EndpointRequest = Readonly<{
  service: Service;
  key: ServiceKey;
  endpoints: readonly Workload[];
  /** All endpoints have one capacity, so that drawing them evenly is fair. False where that is not known. */
  uniform: boolean;
  servicePort: number;
  source: EndpointSource;
  /**
   * `waypoint`: an endpoint behind an application tunnel need not have the port declared by its service.
   * `gateway`: so too, and an endpoint of another network is dialled directly, because that is what gateways are for.
   */
  mode: 'standard' | 'waypoint' | 'gateway';
  /** Endpoints that failed for this connection already. */
  tried: ReadonlySet<WorkloadUid>;
  /** From 0 to below 1. */
  random: () => number;
}>;

export type EndpointChoice = Readonly<
  | { kind: 'endpoint'; workload: Workload; port: number; considered: number }
  | { kind: 'none'; reason: string }
>;

/** Above so many endpoints some are drawn at random before all are looked at. */
const DRAW_ABOVE = 32;
/** When so many draws met no usable endpoint, few are left, and looking at all is fair. */
const MAX_DRAWS = 8;

/** Chooses where a connection to a service goes: health, named ports, locality, then weighted by capacity. */
export function selectEndpoint(request: EndpointRequest): EndpointChoice {
  const { service, servicePort, endpoints, tried, source, random } = request;
  const declared = service.ports.find((port) => port.servicePort === servicePort);
  if (declared === undefined && request.mode === 'standard')
    return none(`${service.hostname} does not declare port ${servicePort}`);

  const portOf = portFinder(request, declared);
  const drawn = drawEndpoint(request, portOf);
  if (drawn !== undefined) return drawn;
  let unhealthy = 0;
  let unusable = 0;
  let alreadyTried = 0;
  let bestRank = -1;
  let best: Workload[] = [];
  for (const workload of endpoints) {
    if (tried.has(workload.uid)) alreadyTried++;
    else if (!workload.healthy && !service.loadBalancing.allowUnhealthy) unhealthy++;
    else if (workload.capacity <= 0 || portOf(workload) === undefined) unusable++;
    else if (!isReachable(request, workload)) unusable++;
    else {
      const rank = localityRank(service.loadBalancing, source, workload);
      if (rank < bestRank) continue;
      if (rank > bestRank) best = [];
      bestRank = rank;
      if (rank >= 0) best.push(workload);
    }
  }
  const known = endpoints.length;
  const chosen = chooseWeighted(best, capacityOf, random());
  const port = chosen && portOf(chosen);
  if (chosen !== undefined && port !== undefined)
    return { kind: 'endpoint', workload: chosen, port, considered: best.length };
  return none(
    known === 0
      ? `${service.hostname} has no endpoints`
      : `${service.hostname} has no endpoint left of ${known}: ` +
          `${alreadyTried} tried, ${unhealthy} unhealthy, ${unusable} without port, address or ` +
          `capacity, ${known - alreadyTried - unhealthy - unusable} outside the required locality`,
  );
}

/** One of many equal endpoints without looking at all of them: drawn until one is usable. */
function drawEndpoint(
  request: EndpointRequest,
  portOf: (workload: Workload) => number | undefined,
): EndpointChoice | undefined {
  const { service, endpoints, uniform, tried, random } = request;
  const { mode, allowUnhealthy } = service.loadBalancing;
  if (!uniform || endpoints.length <= DRAW_ABOVE || mode !== 'UNSPECIFIED') return undefined;
  for (let draw = 0; draw < MAX_DRAWS; draw++) {
    const workload = endpoints[Math.floor(random() * endpoints.length)];
    if (workload === undefined || tried.has(workload.uid)) continue;
    if (workload.capacity <= 0 || (!workload.healthy && !allowUnhealthy)) continue;
    const port = portOf(workload);
    if (port === undefined || !isReachable(request, workload)) continue;
    return { kind: 'endpoint', workload, port, considered: endpoints.length };
  }
  return undefined;
}

function none(reason: string): EndpointChoice {
  return { kind: 'none', reason };
}

/** Finds the target port of endpoints; those that share their mappings, as pods of one Deployment do, share the answer. */
function portFinder(
  { key, servicePort }: EndpointRequest,
  declared: PortMapping | undefined,
): (workload: Workload) => number | undefined {
  let last: Workload | undefined;
  let port: number | undefined;
  return (workload) => {
    const shared =
      last?.services === workload.services && last.applicationTunnel === workload.applicationTunnel;
    if (shared) return port;
    last = workload;
    const unknown = declared === undefined && workload.applicationTunnel === undefined;
    port = unknown ? undefined : endpointPort(workload, key, servicePort, declared);
    return port;
  };
}

/** The port of an endpoint that serves `servicePort`; `undefined` where its name is not found there. */
export function endpointPort(
  workload: Workload,
  key: ServiceKey,
  servicePort: number,
  declared: PortMapping | undefined,
): number | undefined {
  const own = workload.services.get(key)?.find((port) => port.servicePort === servicePort);
  if (own !== undefined && own.targetPort > 0) return own.targetPort;
  if (declared !== undefined && declared.targetPort > 0) return declared.targetPort;
  return workload.applicationTunnel === undefined ? undefined : servicePort;
}

function isReachable({ source, mode, service }: EndpointRequest, workload: Workload): boolean {
  if (workload.network !== source.network && mode !== 'gateway')
    return workload.networkGateway !== undefined;
  if (workload.addresses.length === 0) return workload.hostname !== '';
  const families = permittedFamilies(service.ipFamilies, 4);
  return workload.addresses.some((ip) => families.includes(familyOf(ip)));
}

/** The higher, the nearer; -1 for an endpoint that must not be used. */
export function localityRank(
  { mode, routingPreference }: LoadBalancing,
  source: EndpointSource,
  workload: Workload,
): number {
  switch (mode) {
    case 'UNSPECIFIED':
    case 'PASSTHROUGH':
      return 0;
    case 'STRICT':
      return routingPreference.every((scope) => sharesScope(scope, source, workload)) ? 0 : -1;
    case 'FAILOVER': {
      let rank = 0;
      for (const [index, scope] of routingPreference.entries()) {
        const shared = sharesScope(scope, source, workload);
        // NETWORK in front decides alone: any endpoint of our network outranks every remote one, and the
        // scopes behind it still order the remote ones among themselves.
        if (index === 0 && scope === 'NETWORK') rank += shared ? routingPreference.length : 0;
        else if (shared) rank++;
        else break;
      }
      return rank;
    }
  }
}

function sharesScope(
  scope: LoadBalancing['routingPreference'][number],
  source: EndpointSource,
  workload: Workload,
): boolean {
  const here = source.locality;
  const there = workload.locality;
  switch (scope) {
    case 'REGION':
      return here.region === there.region;
    case 'ZONE':
      return here.zone === there.zone;
    case 'SUBZONE':
      return here.subzone === there.subzone;
    case 'NODE':
      return source.node === workload.node;
    case 'CLUSTER':
      return source.clusterId === workload.clusterId;
    case 'NETWORK':
      return source.network === workload.network;
  }
}

function capacityOf({ capacity }: Workload): number {
  return capacity;
}

/** The families that `ipFamilies` permits, the preferred one first. */
export function permittedFamilies(
  ipFamilies: IpFamilies,
  preferred: AddressFamily,
): readonly AddressFamily[] {
  switch (ipFamilies) {
    case 'IPV4_ONLY':
      return [4];
    case 'IPV6_ONLY':
      return [6];
    case 'AUTOMATIC':
    case 'DUAL':
      return preferred === 4 ? [4, 6] : [6, 4];
  }
}

/**
 * The address of a workload to connect to: the one that was asked for when it is the workload's, else the first of a
 * permitted family in the order of `families`.
 */
export function selectAddress(
  addresses: readonly IpAddress[],
  askedFor: IpAddress,
  families: readonly AddressFamily[],
): IpAddress | undefined {
  if (addresses.includes(askedFor)) return askedFor;
  for (const family of families) {
    const address = addresses.find((ip) => familyOf(ip) === family);
    if (address !== undefined) return address;
  }
  return undefined;
}
