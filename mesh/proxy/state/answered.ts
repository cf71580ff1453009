import type { Brand } from '../../../base/brand.ts';
import type { IpAddress } from '../../../base/address.ts';
import type { GatewayAddress } from '../../model/gateway-address.ts';
import { serviceKey, type ServiceKey } from '../../model/service.ts';
import type { WorkloadUid } from '../../model/workload.ts';

/** What the control plane is asked for on demand: `<network>/<ip>`, `<namespace>/<hostname>` or a workload's uid. */
export type DemandKey = Brand<string, 'DemandKey'>;

/**
 * The keys for which the control plane has answered, if only that there is nothing, and whose changes it sends. On
 * demand, what is not in the state is known not to exist only when its key is among these.
 */
export type AnsweredKeys = Pick<ReadonlySet<DemandKey>, 'has'>;

/** The state, as far as it knows what it has been told of. */
type Told = Readonly<{ answered: AnsweredKeys | undefined }>;

export function addressKey(network: string, ip: IpAddress): DemandKey {
  return `${network}/${ip}` as DemandKey;
}

export function demandKeyOf(named: ServiceKey | WorkloadUid): DemandKey {
  return named as string as DemandKey;
}

/** The key to ask for before it is known who answers at an address; `undefined` when the state may be believed. */
export function unansweredAddress(
  { answered }: Told,
  network: string,
  ip: IpAddress,
): DemandKey | undefined {
  if (answered === undefined) return undefined;
  return unlessAnswered(answered, addressKey(network, ip));
}

/** As unansweredAddress(), for a service by name. */
export function unansweredService({ answered }: Told, key: ServiceKey): DemandKey | undefined {
  return answered && unlessAnswered(answered, demandKeyOf(key));
}

/** As unansweredAddress(), for a waypoint or network gateway with its instances. */
export function unansweredGateway(
  { answered }: Told,
  { destination }: GatewayAddress,
): DemandKey | undefined {
  if (answered === undefined) return undefined;
  return unlessAnswered(
    answered,
    destination.kind === 'hostname'
      ? demandKeyOf(serviceKey(destination.namespace, destination.hostname))
      : addressKey(destination.network, destination.ip),
  );
}

function unlessAnswered(answered: AnsweredKeys, key: DemandKey): DemandKey | undefined {
  return answered.has(key) ? undefined : key;
}
