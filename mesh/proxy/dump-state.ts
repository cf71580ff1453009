import { dumpPolicy, dumpService, dumpWorkload, type Json } from '../admin/config-dump.ts';
import type { DemandKey } from './state/answered.ts';
import type { ProxyState } from './state/store.ts';
import { keyOfService } from './state/vips.ts';

/** What a data thread puts into `/config_dump`. */
export type StateDump = Readonly<{
  workloads: readonly Json[];
  services: readonly Json[];
  policies: readonly Json[];
  /** On demand: what was asked for, of this thread's connections. */
  demanded?: readonly Json[];
}>;

/** A key that the control plane is asked for, and whose connections need it. */
export type DemandedKey = Readonly<{ key: DemandKey; answered: boolean; pods: readonly string[] }>;

/** The state of a thread as JSON text, sorted by key; text, because a clone of it all would cost more. */
export function dumpState(state: ProxyState, demanded?: readonly DemandedKey[]): string {
  const dump: StateDump = {
    workloads: sorted(state.workloads(), ({ uid }) => uid).map(dumpWorkload),
    services: sorted(state.services(), keyOfService).map((service) =>
      dumpService(service, state.endpoints(keyOfService(service)).values()),
    ),
    policies: sorted(state.policies(), ({ namespace, name }) => `${namespace}/${name}`).map(
      dumpPolicy,
    ),
    ...(demanded && { demanded: sorted(demanded, ({ key }) => key).map(dumpDemanded) }),
  };
  return JSON.stringify(dump);
}

function dumpDemanded({ key, answered, pods }: DemandedKey): Json {
  return { key, state: answered ? 'Answered' : 'Pending', pods };
}

function sorted<T>(values: Iterable<T>, key: (value: T) => string): T[] {
  return [...values].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}
