import { describeError } from '../../../base/errors.ts';
import type { ServiceKey } from '../../model/service.ts';
import { resourceError } from '../../xds/codec-fields.ts';
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
  rejected: readonly ResourceRejection[];
}>;

const NOTHING: ServiceConfig = {};

/** What the control plane has told a waypoint of the services that use it. */
export class WaypointStore {
  readonly #services = new Map<ServiceKey, ServiceConfig>();

  /**
   * What is known of a service. A kind that is absent has not arrived, or the service does not use this waypoint: the
   * control plane tells a waypoint every kind of each service of its own, also where nothing is configured.
   */
  config(service: ServiceKey): ServiceConfig {
    return this.#services.get(service) ?? NOTHING;
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
    resources: readonly Pick<RawResource, 'name' | 'bytes'>[],
    removed: readonly string[],
  ): WaypointChange | undefined {
    const kind = waypointKind(typeUrl);
    if (kind === undefined) return undefined;
    const services = new Set<ServiceKey>();
    const rejected: ResourceRejection[] = [];
    for (const { name, bytes } of resources) {
      try {
        services.add(this.#set(kind, name, bytes));
      } catch (error) {
        rejected.push({ name, reason: describeError(error) });
      }
    }
    for (const name of removed)
      if (this.#remove(kind, name as ServiceKey)) services.add(name as ServiceKey);
    return { services, rejected };
  }

  #set(kind: WaypointKind, name: string, bytes: Uint8Array): ServiceKey {
    const value = WAYPOINT_CODECS[kind].decode(bytes);
    const { service } = value;
    // Removals come by name, so a resource under another name could never be removed.
    if (service !== name)
      throw resourceError(
        `Cannot apply ${JSON.stringify(name)}: it is of ${JSON.stringify(service)}`,
      );
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
