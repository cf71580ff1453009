import { measureRounds, valuesOf, type RoundResults } from '../harness/rounds.ts';
import { bestPeer, makeRow, type Better, type Budget, type Row } from '../harness/rows.ts';
import type { Context } from './context.ts';
import type { Route, RouteName } from './routes.ts';

/** Measures every route once a round, interleaved. */
export function measureRoutes(
  { rounds, note }: Context,
  what: string,
  routes: readonly Route[],
  measure: (route: Route) => Promise<Readonly<Record<string, number>>>,
): Promise<RoundResults<RouteName>> {
  const subjects = routes.map((route) => ({ name: route.name, measure: () => measure(route) }));
  return measureRounds(subjects, rounds, (round, subject) => {
    note(`${what}: round ${round + 1} of ${rounds}, ${subject}`);
  });
}

export type RowPlan = Readonly<{
  metric: string;
  /** The name of the value among those measured. */
  value: string;
  unit: string;
  better: Better;
  ours: RouteName;
  /** The best of these is compared with. */
  peers: readonly RouteName[];
  budget?: Budget;
}>;

/** The row of a plan; none when ours was not measured. */
export function routeRow(results: RoundResults<RouteName>, plan: RowPlan): Row[] {
  const { metric, value, unit, better, budget } = plan;
  const ours = valuesOf(results, plan.ours, value);
  if (ours.length === 0) return [];
  const peers = plan.peers.map((name) => ({ name, values: valuesOf(results, name, value) }));
  const peer = bestPeer(peers, better);
  // A budget against a peer says nothing without one.
  const budgeted = peer !== undefined && budget !== undefined ? { budget } : {};
  return [makeRow({ metric, unit, better, ours, peer, ...budgeted })];
}
