import type {
  EndpointCondition,
  ReportedEndpoint,
  ReportedTarget,
} from '../mesh/model/endpoint-report.ts';
import type { Endpoint } from './balance/endpoint.ts';
import type { UpstreamTarget } from './upstream-target.ts';

/** Why an endpoint may be chosen, or may not. */
export function conditionOf({ state }: Endpoint): EndpointCondition {
  if (state.available) return 'available';
  if (state.outlier.ejected) return 'ejected';
  return state.passes ? 'not-ready' : 'failing-checks';
}

/** A target as one thread sees it. */
export function reportTarget(name: string, target: UpstreamTarget): ReportedTarget {
  const { ejections_enforced_total, ejections_overflow } = target.outliers.counters;
  const { adaptive } = target;
  return {
    target: name,
    endpoints: target.endpoints().map((endpoint) => ({
      ...{ workload: endpoint.workload.uid, address: endpoint.hashKey },
      ...{ condition: conditionOf(endpoint), active: endpoint.state.active },
    })),
    ...{ ejections: ejections_enforced_total, ejectionsOverflow: ejections_overflow },
    ...(adaptive && { concurrencyLimit: adaptive.limit }),
  };
}

/** The reports of all threads as one: what one thread has ejected is told, though others still use it. */
export function joinReports(reports: readonly (readonly ReportedTarget[])[]): ReportedTarget[] {
  const joined = new Map<string, ReportedTarget>();
  for (const report of reports)
    for (const target of report) {
      const before = joined.get(target.target);
      joined.set(target.target, before === undefined ? target : joinTargets(before, target));
    }
  return [...joined.values()].sort((a, b) => (a.target < b.target ? -1 : 1));
}

function joinTargets(a: ReportedTarget, b: ReportedTarget): ReportedTarget {
  const endpoints = new Map(a.endpoints.map((one) => [one.workload, one]));
  for (const one of b.endpoints) {
    const before = endpoints.get(one.workload);
    endpoints.set(one.workload, before === undefined ? one : joinEndpoints(before, one));
  }
  const limits = [a.concurrencyLimit, b.concurrencyLimit].filter((each) => each !== undefined);
  return {
    target: a.target,
    endpoints: [...endpoints.values()],
    ejections: a.ejections + b.ejections,
    ejectionsOverflow: a.ejectionsOverflow + b.ejectionsOverflow,
    ...(limits.length > 0 && { concurrencyLimit: limits.reduce((sum, each) => sum + each, 0) }),
  };
}

function joinEndpoints(a: ReportedEndpoint, b: ReportedEndpoint): ReportedEndpoint {
  const condition = a.condition === 'available' ? b.condition : a.condition;
  return { ...a, condition, active: a.active + b.active };
}
