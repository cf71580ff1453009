import type { Balancer } from './balancer.ts';
import { buildBalancer, isHashing, type BuildOptions } from './build.ts';
import type { Endpoint } from './endpoint.ts';
import type { EndpointGroup, EndpointLevel } from './levels.ts';
import { OVERPROVISIONING, shareLevels } from './priority-load.ts';

type PlannedGroup = Readonly<{ weight: number; balancer: Balancer }>;

/** A level as it is used: with balancers over its available endpoints, or over all of them in panic. */
export type PlannedLevel = Readonly<{
  share: number;
  panic: boolean;
  groups: readonly PlannedGroup[];
  /** The sum of their weights. */
  weight: number;
}>;

/** How requests are shared among endpoints, as long as their availability stays as it is. */
export type Plan = readonly PlannedLevel[];

export const NO_PLAN: Plan = [];

/** Makes the plan of levels in steps; see Building. */
export function* buildPlan(
  levels: readonly EndpointLevel[],
  panicPercent: number,
  options: BuildOptions,
): Generator<undefined, Plan, undefined> {
  const loads = shareLevels(levels.map(healthOf), panicPercent);
  const plan: PlannedLevel[] = [];
  for (const [index, level] of levels.entries()) {
    const { share = 0, panic = false } = loads[index] ?? {};
    const groups: PlannedGroup[] = [];
    let sum = 0;
    for (const { weight, endpoints } of groupsFor(level, options)) {
      const usable = endpoints.filter(({ state }) => isUsable(state, panic));
      if (share === 0 || usable.length === 0) continue;
      const carried = panic
        ? 1
        : Math.min(1, (OVERPROVISIONING * usable.length) / endpoints.length);
      const balancer = yield* buildBalancer(usable, options);
      groups.push({ weight: weight * carried, balancer });
      sum += weight * carried;
    }
    plan.push({ share, panic, groups, weight: sum });
  }
  return plan;
}

export function isUsable({ available, retired }: Endpoint['state'], panic: boolean): boolean {
  return available || (panic && !retired);
}

function healthOf(level: EndpointLevel): Readonly<{ available: number; total: number }> {
  let available = 0;
  let total = 0;
  for (const { endpoints } of level)
    for (const { state } of endpoints) {
      total++;
      if (state.available) available++;
    }
  return { available, total };
}

/** One key must lead to one endpoint, so hashing has one table a level, where each has its part of its group's share. */
function groupsFor(level: EndpointLevel, { policy }: BuildOptions): EndpointLevel {
  if (level.length < 2 || !isHashing(policy)) return level;
  const endpoints = level.flatMap((group) => {
    const total = group.endpoints.reduce((sum, { weight }) => sum + weight, 0);
    return group.endpoints.map(
      (endpoint): Endpoint => ({
        ...endpoint,
        weight: (group.weight * endpoint.weight) / total,
      }),
    );
  });
  const joined: EndpointGroup = { weight: 1, endpoints };
  return [joined];
}
