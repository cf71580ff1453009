import type { Balancer, Building } from '../../waypoint/balance/balancer.ts';
import type { Endpoint } from '../../waypoint/balance/endpoint.ts';
import { EndpointState } from '../../waypoint/endpoint-state.ts';
import { makeWorkload, type WorkloadFields } from './workloads.ts';

export type EndpointFields = Partial<Omit<Endpoint, 'workload' | 'state'>> &
  Readonly<{ workload?: Partial<WorkloadFields>; warmSinceMs?: number }>;

/** An endpoint `<name>:8080` that has been there since the beginning of time. */
export function makeEndpoint(name: string, fields: EndpointFields = {}): Endpoint {
  const { workload, warmSinceMs = -Infinity, ...rest } = fields;
  return {
    workload: makeWorkload({ name, ...workload }),
    port: 8080,
    weight: 1,
    labels: new Map(),
    hashKey: `${name}:8080`,
    state: new EndpointState(name, warmSinceMs),
    ...rest,
  };
}

/** So many endpoints of one weight, or one for each weight, with addresses from 10.0.0.0 on. */
export function makeEndpoints(weights: number | readonly number[]): Endpoint[] {
  const list = typeof weights === 'number' ? Array<number>(weights).fill(1) : weights;
  return list.map((weight, index) =>
    makeEndpoint(`e${index}`, {
      weight,
      hashKey: `10.0.${index >> 8}.${index & 0xff}:8080`,
    }),
  );
}

/** Brings a building to its end; `steps` is in how many pieces it was done. */
export function finish(building: Building): Readonly<{ balancer: Balancer; steps: number }> {
  for (let steps = 1; ; steps++) {
    const { done, value } = building.next();
    if (done === true) return { balancer: value, steps };
  }
}

/** How often each endpoint is picked, by its place in the list. */
export function countPicks(
  endpoints: readonly Endpoint[],
  picks: number,
  pick: (index: number) => Endpoint | undefined,
): number[] {
  const counts = new Map<Endpoint | undefined, number>(endpoints.map((each) => [each, 0]));
  for (let index = 0; index < picks; index++) {
    const picked = pick(index);
    counts.set(picked, (counts.get(picked) ?? 0) + 1);
  }
  return endpoints.map((each) => counts.get(each) ?? 0);
}
