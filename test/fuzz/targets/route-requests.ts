import { match, ok } from 'node:assert';
import { MeshError } from '../../../base/errors.ts';
import type { HttpRoutes } from '../../../mesh/model/http-route.ts';
import { RouteTable } from '../../../waypoint/match.ts';
import { makeRule } from '../../support/route-cases.ts';
import { checkPrototypes, type Target } from '../oracle.ts';

const routes: HttpRoutes = {
  choice: 'precedence',
  grpc: false,
  rules: [
    makeRule('a', [
      {
        path: { kind: 'prefix', value: '/a', ignoreCase: true },
        headers: [{ name: 'x', kind: 'regex', value: '(a+)+$', absent: true }],
        queryParams: [{ name: '__proto__', kind: 'exact', value: 'a b' }],
      },
      { path: { kind: 'regex', value: '(/[a-z]+)+' }, headers: [], queryParams: [] },
    ]),
    makeRule('b', [
      {
        headers: [{ name: 'x', kind: 'prefix', value: 'é' }],
        queryParams: [{ name: 'é', kind: 'present' }],
      },
    ]),
  ],
};
const table = new RouteTable(routes);

/** Whatever a client asks for, the answer is a rule, none, or that a value is too long; and it comes in bounded time. */
export const target: Target = {
  maxBytes: 64 << 10,
  check(input) {
    const [path = '', value = ''] = input.toString('latin1').split('\n');
    try {
      const found = table.find([':method', 'GET', ':path', path, 'x', value]);
      const steps = table.explain([':method', 'GET', ':path', path, 'x', value]);
      ok(steps.length > 0);
      match(steps.at(-1)?.found ?? '', found === undefined ? /^none of 3/ : /^holds: /);
    } catch (error) {
      if (!(error instanceof MeshError && error.code === 'ERR_REGEX_INPUT')) throw error;
    }
    checkPrototypes();
  },
};
