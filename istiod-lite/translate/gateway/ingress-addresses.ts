import { tryParseIpAddress, type IpAddress } from '../../../base/address.ts';
import type { Service } from '../../../mesh/kubernetes/core.ts';
import type { Gateway } from '../../../mesh/kubernetes/gateway.ts';
import { GATEWAY_NAME } from '../../../mesh/kubernetes/labels.ts';
import type { Picture } from '../../snapshot.ts';
import { isReady } from '../readiness.ts';
import type { GatewayStatusAddress } from '../settings.ts';
import { fixedName, ingressLabel, ingressName } from './ingress-class.ts';

/** What a Gateway asks to be reached at. */
export type AskedAddresses = Readonly<{
  /** Each has a Service of its own, for a load balancer takes one address of a Service. */
  fixed: readonly IpAddress[];
  /** Whether the rest is for the load balancer to say: nothing is asked for, or something that is no address yet. */
  others: boolean;
  /** The first that is of a type which no Service has. */
  unsupported?: GatewayStatusAddress;
}>;

/** Where a gateway is reached, and why that is not all that is asked for, or not yet. */
export type IngressAddresses = Readonly<{
  addresses: readonly GatewayStatusAddress[];
  lacking?: Readonly<{
    reason: 'AddressNotAssigned' | 'AddressNotUsable' | 'Pending';
    message: string;
  }>;
}>;

export function askedAddresses({ spec: { addresses } }: Gateway): AskedAddresses {
  const fixed = addresses.flatMap((address) => fixedIp(address) ?? []);
  const unsupported = addresses.find(({ type }) => type !== 'IPAddress' && type !== 'Hostname');
  return {
    fixed: [...new Set(fixed)],
    others: addresses.length === 0 || fixed.length < addresses.length,
    ...(unsupported && { unsupported }),
  };
}

function fixedIp({ type, value }: GatewayStatusAddress): IpAddress | undefined {
  return type === 'IPAddress' ? tryParseIpAddress(value) : undefined;
}

/** The addresses of the gateway's Services, as soon as a replica is ready to serve there. */
export function ingressAddresses(picture: Picture, gateway: Gateway): IngressAddresses {
  const { namespace } = gateway.ref;
  const label = ingressLabel(gateway);
  const { fixed, others } = askedAddresses(gateway);
  const name = ingressName(gateway);
  const bound: GatewayStatusAddress[] = [];
  for (const each of [name, ...fixed.map((ip) => fixedName(gateway, ip))]) {
    const service = picture.get('Service', namespace, each);
    if (service === undefined) continue;
    if (service.metadata.labels.get(GATEWAY_NAME) !== label)
      return lacking(
        'AddressNotAssigned',
        `Service ${namespace}/${each} is somebody else's, and the gateway's has the same name`,
      );
    // That of a gateway with fixed addresses alone is for clients in the cluster.
    if (each !== name || others) bound.push(...serviceAddresses(service));
  }
  if (bound.length === 0 && fixed.length === 0)
    return lacking('AddressNotAssigned', `Service ${namespace}/${name} has no address yet`);
  const { addresses, unusable, unassigned } = compare(gateway, bound);
  const instances = [...picture.podsOfGateway(namespace, label)];
  const isServed = instances.some(isReady);
  const served = isServed ? addresses : [];
  if (unusable.length > 0)
    return lacking('AddressNotUsable', `not given: ${unusable.join(', ')}`, served);
  if (unassigned.length > 0)
    return lacking('AddressNotAssigned', `no ${unassigned.join(', no ')} was given`, served);
  if (!isServed) return lacking('Pending', 'no replica of the gateway is ready');
  return { addresses };
}

/** What was asked for beside what was given. */
function compare(
  { spec }: Gateway,
  bound: readonly GatewayStatusAddress[],
): Readonly<{
  addresses: readonly GatewayStatusAddress[];
  /** Values. */
  unusable: readonly string[];
  /** Types, of what has no value. */
  unassigned: readonly string[];
}> {
  if (spec.addresses.length === 0) return { addresses: bound, unusable: [], unassigned: [] };
  const addresses = new Map<string, GatewayStatusAddress>();
  const unusable: string[] = [];
  const unassigned: string[] = [];
  for (const asked of spec.addresses) {
    const ip = fixedIp(asked);
    const given = bound.filter(
      ({ type, value }) =>
        type === asked.type &&
        (asked.value === '' ||
          asked.value === value ||
          (ip !== undefined && tryParseIpAddress(value) === ip)),
    );
    for (const each of given) addresses.set(`${each.type} ${each.value}`, each);
    if (given.length > 0) continue;
    if (asked.value === '') unassigned.push(asked.type);
    else unusable.push(asked.value);
  }
  return { addresses: [...addresses.values()], unusable, unassigned };
}

function lacking(
  reason: NonNullable<IngressAddresses['lacking']>['reason'],
  message: string,
  addresses: readonly GatewayStatusAddress[] = [],
): IngressAddresses {
  return { addresses, lacking: { reason, message } };
}

function serviceAddresses({ spec, status }: Service): readonly GatewayStatusAddress[] {
  if (spec.type === 'LoadBalancer')
    return status.loadBalancer.ingress.map(({ ip, hostname }) =>
      ip === '' ? { type: 'Hostname', value: hostname } : { type: 'IPAddress', value: ip },
    );
  const given = spec.clusterIPs.length > 0 ? spec.clusterIPs : [spec.clusterIP];
  return given
    .filter((text) => tryParseIpAddress(text) !== undefined)
    .map((value) => ({ type: 'IPAddress', value }));
}
