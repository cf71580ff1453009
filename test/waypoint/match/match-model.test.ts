/** Holds RouteTable against a model of the choice that shares nothing with it, over random routes and requests. */
import test from 'ava';
import type { HttpRoutes } from '../../../mesh/model/http-route.ts';
import { RouteTable } from '../../../waypoint/match.ts';
import { seededRandom } from '../../faults/soak/shuffle.ts';
import { makeRequest, makeRoutes, toHeaders, type Pick } from '../../support/route-cases.ts';
import { modelChoice, type ModelChoice, type ModelRequest } from './route-model.ts';

const TABLES = 2500;
const REQUESTS_PER_TABLE = 100;

function choiceOf(table: RouteTable, request: ModelRequest): ModelChoice | undefined {
  const found = table.find(toHeaders(request), request.namespace);
  return found && { rule: found.ruleIndex, match: found.matchIndex, prefix: found.prefix };
}

function isSame(one: ModelChoice | undefined, other: ModelChoice | undefined): boolean {
  return one?.rule === other?.rule && one?.match === other?.match && one?.prefix === other?.prefix;
}

function makePick(seed: number): Pick {
  const random = seededRandom(seed);
  return (below) => Math.floor(random() * below);
}

test('a table chooses as the specification says, for 250,000 random pairs of routes and request', (t) => {
  const outcomes = { none: 0, one: 0, byOrder: 0 };
  for (let seed = 1; seed <= TABLES; seed++) {
    const pick = makePick(seed);
    const routes = makeRoutes(pick, seed % 50 === 0 ? 60 : 8);
    const table = new RouteTable(routes);
    for (let round = 0; round < REQUESTS_PER_TABLE; round++) {
      const request = makeRequest(pick);
      const expected = modelChoice(routes, request);
      const found = choiceOf(table, request);
      if (!isSame(found, expected)) {
        t.deepEqual(found, expected, describe(seed, routes, request));
        return;
      }
      outcomes[expected === undefined ? 'none' : 'one']++;
      if (routes.choice === 'order' && expected !== undefined) outcomes.byOrder++;
    }
  }
  t.log(outcomes);
  // Neither answer is so rare that half of what is compared would prove nothing.
  t.true(
    outcomes.none > 20_000 && outcomes.one - outcomes.byOrder > 20_000 && outcomes.byOrder > 20_000,
  );
});

test('what is explained is what is chosen', (t) => {
  for (let seed = 1; seed <= 200; seed++) {
    const pick = makePick(-seed);
    const table = new RouteTable(makeRoutes(pick, 8));
    for (let round = 0; round < 10; round++) {
      const request = makeRequest(pick);
      const headers = toHeaders(request);
      const found = table.find(headers, request.namespace);
      const steps = table.explain(headers, request.namespace);
      const last = steps.at(-1);
      const named = found && `rule ${found.rule.name}, match ${found.matchIndex + 1}`;
      if (last?.step !== (named ?? 'rules')) t.is(last?.step, named ?? 'rules');
      if (named !== undefined && last?.found.startsWith('holds: ') !== true) t.fail(last?.found);
      for (const { found: why } of steps.slice(0, -1))
        if (why === '' || why.startsWith('holds: ')) t.fail(why);
    }
  }
  t.pass();
});

function describe(seed: number, routes: HttpRoutes, request: ModelRequest): string {
  return `seed ${seed}: ${JSON.stringify(request)} by ${JSON.stringify(routes)}`;
}
