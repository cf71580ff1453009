import { describeError } from '../../../base/errors.ts';
import type { GatewayKey, GatewayListeners } from '../../model/gateway-listener.ts';
import type { ServiceKey } from '../../model/service.ts';
import type { SecurityTarget, TargetSecurity } from '../../model/target-security.ts';
import { resourceError } from '../../xds/codec-fields.ts';
import { decodeGatewayListeners, GATEWAY_LISTENERS_TYPE } from '../../xds/codec-gateway.ts';
import { decodeTargetSecurity, TARGET_SECURITY_TYPE } from '../../xds/codec-http-policy.ts';
import type { RawResource, ResourceRejection } from '../../xds/delta-client.ts';
import {
  WAYPOINT_CODECS,
  waypointKind,
  type WaypointConfigs,
  type WaypointKind,
} from '../../xds/waypoint-codecs.ts';

/** What is known of one service; never changed, only replaced: a request goes on with what it began with. */
export type ServiceConfig = Readonly<Partial<WaypointConfigs>>;

/** What one delta did. */
export type WaypointChange = Readonly<{
  services: ReadonlySet<ServiceKey>;
  /** Whose policies are other ones. */
  securities: ReadonlySet<SecurityTarget>;
  /** Whose listeners are other ones. */
  gateways: ReadonlySet<GatewayKey>;
  rejected: readonly ResourceRejection[];
}>;

type StoredResource = Pick<RawResource, 'name' | 'bytes'>;

const NOTHING: ServiceConfig = {};
const NO_SERVICES: ReadonlySet<ServiceKey> = new Set();
const NO_TARGETS: ReadonlySet<SecurityTarget> = new Set();
const NO_GATEWAYS: ReadonlySet<GatewayKey> = new Set();

/** What the control plane has told a waypoint of the services that use it. */
export class WaypointStore {
  readonly #services = new Map<ServiceKey, ServiceConfig>();
  readonly #securities = new Map<SecurityTarget, TargetSecurity>();
  readonly #gateways = new Map<GatewayKey, GatewayListeners>();

  /**
   * What is known of a service. A kind that is absent has not arrived, or the service does not use this waypoint: the
   * control plane tells a waypoint every kind of each service of its own, also where nothing is configured.
   */
  config(service: ServiceKey): ServiceConfig {
    return this.#services.get(service) ?? NOTHING;
  }

  /**
   * The policies that are attached to a target. Without an entry they have not arrived, or are not of this waypoint: the control
   * plane sends one for each of its services, and for the waypoint itself, also where nothing is attached.
   */
  security(target: SecurityTarget): TargetSecurity | undefined {
    return this.#securities.get(target);
  }

  /** What a gateway listens for; only a gateway is told, and of itself alone. */
  listeners(gateway: GatewayKey): GatewayListeners | undefined {
    return this.#gateways.get(gateway);
  }

  /** Services of which anything is known. */
  get size(): number {
    return this.#services.size;
  }

  /**
   * Takes the updates of a delta, then its removals. A resource that cannot be used is refused alone, and the last good
   * one of its name stays.
   *
   * @returns `undefined` for a type that is not of this store.
   */
  apply(
    typeUrl: string,
    resources: readonly StoredResource[],
    removed: readonly string[],
  ): WaypointChange | undefined {
    if (typeUrl === TARGET_SECURITY_TYPE) return this.#applySecurities(resources, removed);
    if (typeUrl === GATEWAY_LISTENERS_TYPE) return this.#applyListeners(resources, removed);
    const kind = waypointKind(typeUrl);
    if (kind === undefined) return undefined;
    const services = new Set<ServiceKey>();
    const rejected = takeEach(resources, (name, bytes) => {
      services.add(this.#set(kind, name, bytes));
    });
    for (const name of removed)
      if (this.#remove(kind, name as ServiceKey)) services.add(name as ServiceKey);
    return { services, securities: NO_TARGETS, gateways: NO_GATEWAYS, rejected };
  }

  #applySecurities(
    resources: readonly StoredResource[],
    removed: readonly string[],
  ): WaypointChange {
    const securities = new Set<SecurityTarget>();
    const rejected = takeEach(resources, (name, bytes) => {
      const security = decodeTargetSecurity(bytes);
      checkName(name, security.target);
      this.#securities.set(security.target, security);
      securities.add(security.target);
    });
    for (const name of removed)
      if (this.#securities.delete(name as SecurityTarget)) securities.add(name as SecurityTarget);
    return { services: NO_SERVICES, securities, gateways: NO_GATEWAYS, rejected };
  }

  #applyListeners(
    resources: readonly StoredResource[],
    removed: readonly string[],
  ): WaypointChange {
    const gateways = new Set<GatewayKey>();
    const rejected = takeEach(resources, (name, bytes) => {
      const listeners = decodeGatewayListeners(bytes);
      checkName(name, listeners.gateway);
      this.#gateways.set(listeners.gateway, listeners);
      gateways.add(listeners.gateway);
    });
    for (const name of removed)
      if (this.#gateways.delete(name as GatewayKey)) gateways.add(name as GatewayKey);
    return { services: NO_SERVICES, securities: NO_TARGETS, gateways, rejected };
  }

  #set(kind: WaypointKind, name: string, bytes: Uint8Array): ServiceKey {
    const value = WAYPOINT_CODECS[kind].decode(bytes);
    const { service } = value;
    checkName(name, service);
    this.#services.set(service, { ...this.#services.get(service), [kind]: value });
    return service;
  }

  #remove(kind: WaypointKind, service: ServiceKey): boolean {
    const before = this.#services.get(service);
    if (before?.[kind] === undefined) return false;
    const { [kind]: _, ...rest } = before;
    if (Object.keys(rest).length === 0) this.#services.delete(service);
    else this.#services.set(service, rest);
    return true;
  }
}

/** Removals come by name, so a resource under another name could never be removed. */
function checkName(name: string, own: string): void {
  if (name !== own)
    throw resourceError(`Cannot apply ${JSON.stringify(name)}: it is of ${JSON.stringify(own)}`);
}

/** Takes each resource by itself. @returns those that `take` has thrown for, with the reason. */
function takeEach(
  resources: readonly StoredResource[],
  take: (name: string, bytes: Uint8Array) => void,
): ResourceRejection[] {
  const rejected: ResourceRejection[] = [];
  for (const { name, bytes } of resources) {
    try {
      take(name, bytes);
    } catch (error) {
      rejected.push({ name, reason: describeError(error) });
    }
  }
  return rejected;
}
