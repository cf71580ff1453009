import type { SocketAddress } from '../../base/address.ts';
import { selectEndpoint, type EndpointChoice, type EndpointSource } from '../model/endpoint.ts';
import type { GatewayAddress } from '../model/gateway-address.ts';
import type { Service } from '../model/service.ts';
import type { Workload, WorkloadUid } from '../model/workload.ts';
import { addressOf, type AddressRequest, type Resolve } from './next-hop.ts';
import { unansweredGateway, type DemandKey } from './state/answered.ts';
import { describeGateway, findGateway } from './state/gateway.ts';
import type { ProxyState } from './state/store.ts';
import { keyOfService } from './state/vips.ts';

/** Ask again when the control plane has answered for this key. */
export type Ask = Readonly<{ kind: 'ask'; key: DemandKey }>;

/** Who looks for a next hop, and what it has tried. */
export type HopContext = Readonly<{
  state: ProxyState;
  request: AddressRequest &
    Readonly<{
      source: Readonly<{ namespace: string } & Omit<EndpointSource, 'network'>>;
      /** The network that it is in. */
      network: string;
      tried: ReadonlySet<WorkloadUid>;
    }>;
}>;

/** Chooses an endpoint of a service for the caller, among those that have not been tried. */
export function chooseEndpoint(
  { state, request }: HopContext,
  service: Service,
  servicePort: number,
  mode: 'standard' | 'waypoint' | 'gateway',
): EndpointChoice {
  const { clusterId, node, locality } = request.source;
  const key = keyOfService(service);
  const { list, uniform } = state.endpointView(key);
  return selectEndpoint({
    service,
    key,
    endpoints: list,
    uniform,
    servicePort,
    source: { network: request.network, clusterId, node, locality },
    mode,
    tried: request.tried,
    random: request.random,
  });
}

export type GatewayHop = Readonly<
  | { kind: 'found'; workload: Workload; service?: Service; connectTo?: SocketAddress }
  | { kind: 'none'; reason: string }
  | Resolve
  | Ask
>;

/** Chooses an instance of a waypoint or network gateway that has not been tried. */
export function selectGateway(
  context: HopContext,
  address: GatewayAddress,
  mode: 'waypoint' | 'gateway',
): GatewayHop {
  const { state, request } = context;
  const { tried, source } = request;
  const none = (reason: string): GatewayHop => ({ kind: 'none', reason });
  const key = unansweredGateway(state, address);
  if (key !== undefined) return { kind: 'ask', key };
  const gateway = findGateway(state, address, source.namespace);
  if (gateway === undefined) return none(`${describeGateway(address)} is not known`);
  let workload: Workload;
  let port = address.hboneMtlsPort;
  if (gateway.kind === 'workload') {
    workload = gateway.workload;
    if (tried.has(workload.uid)) return none(`${workload.uid} was tried, and there is no other`);
  } else {
    const { service } = gateway;
    const choice = chooseEndpoint(context, service, port, mode);
    if (choice.kind === 'none') return none(choice.reason);
    ({ workload, port } = choice);
  }
  const service = gateway.kind === 'service' ? gateway.service : undefined;
  const found = { kind: 'found', workload, ...(service && { service }) } as const;
  if (workload.network !== request.network && mode === 'waypoint') return found;
  const ip = addressOf(request, workload, service);
  if (ip === undefined) return none(`${workload.uid} has no address of a permitted family`);
  return typeof ip === 'object' ? ip : { ...found, connectTo: { ip, port } };
}
