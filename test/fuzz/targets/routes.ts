import { deepStrictEqual, strictEqual } from 'node:assert';
import { RouteTable } from '../../../waypoint/match.ts';
import { makeRequest, makeRoutes, toHeaders, type Pick } from '../../support/route-cases.ts';
import { modelChoice } from '../../waypoint/match/route-model.ts';
import type { Target } from '../oracle.ts';

const REQUESTS = 4;

/** Routes and requests out of the input: a table chooses as the model does, and writes nothing into the request. */
export const target: Target = {
  maxBytes: 4 << 10,
  check(input) {
    const pick = picksOf(input);
    const routes = makeRoutes(pick, 6);
    const table = new RouteTable(routes);
    for (let round = 0; round < REQUESTS; round++) {
      const request = makeRequest(pick);
      const headers = toHeaders(request);
      Object.freeze(headers);
      const found = table.find(headers, request.namespace);
      const expected = modelChoice(routes, request);
      deepStrictEqual(
        found && { rule: found.ruleIndex, match: found.matchIndex, prefix: found.prefix },
        expected,
      );
      strictEqual(table.find(headers, request.namespace), found, 'asked again it says the same');
    }
  },
};

/** A choice a byte; 0 where the input has ended, which makes the least of everything. */
function picksOf(input: Buffer): Pick {
  let position = 0;
  return (below) => (input[position++] ?? 0) % Math.max(1, below);
}
