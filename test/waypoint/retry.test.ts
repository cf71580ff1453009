import test from 'ava';
import type { RetryCondition } from '../../mesh/model/http-route.ts';
import {
  backoffMs,
  isRetriableFailure,
  isRetriableResponse,
  retryPlan,
} from '../../waypoint/retry.ts';
import type { UpstreamFailure } from '../../waypoint/upstream/failure.ts';
import { policy } from '../support/waypoint-requests.ts';

const FAILURES: readonly UpstreamFailure[] = [
  ...(['connection-failure', 'refused', 'remote-reset', 'connection-termination'] as const),
  ...(['protocol-error', 'per-try-timeout', 'overflow', 'local-reset'] as const),
];

/** Which failures of a request that was sent are repeated; for the first, nothing was sent. */
const failures = test.macro({
  exec(t, conditions: RetryCondition[], ...expected: UpstreamFailure[]) {
    const plan = retryPlan(policy({ conditions }), 'POST');
    const repeated = FAILURES.filter((failure) =>
      isRetriableFailure(plan, failure, failure !== 'connection-failure'),
    );
    t.deepEqual(repeated, expected);
  },
  title: (given = '') => `isRetriableFailure() ${given}`,
});
const everything = FAILURES.slice(0, 6);
test('with 5xx: whatever brought no answer', failures, ['5xx'], ...everything);
test('with gateway-error: the same', failures, ['gateway-error'], ...everything);
test('with reset: the same', failures, ['reset'], ...everything);
test(
  'with reset-before-request: what was not sent',
  failures,
  ['reset-before-request'],
  'connection-failure',
);
test('with connect-failure: no connection', failures, ['connect-failure'], 'connection-failure');
test('with refused-stream: what was refused', failures, ['refused-stream'], 'refused');
test('with conditions about answers: nothing', failures, ['retriable-4xx', 'unavailable']);
test('without a condition: nothing', failures, []);

const responses = test.macro({
  exec(t, conditions: RetryCondition[], statusCodes: number[], ...expected: number[]) {
    const plan = retryPlan(policy({ conditions, statusCodes }), 'GET');
    const all = [200, 301, 404, 409, 429, 500, 501, 502, 503, 504, 505];
    const repeated = all.filter((status) =>
      isRetriableResponse(plan, { status, grpcStatus: undefined, overloaded: false }),
    );
    t.deepEqual(repeated, expected);
    for (const status of all)
      t.false(isRetriableResponse(plan, { status, grpcStatus: undefined, overloaded: true }));
  },
  title: (given = '') => `isRetriableResponse() ${given}`,
});
test('with 5xx', responses, ['5xx'], [], 500, 501, 502, 503, 504, 505);
test('with gateway-error', responses, ['gateway-error'], [], 502, 503, 504);
test('with retriable-4xx', responses, ['retriable-4xx'], [], 409);
test('with codes', responses, ['retriable-status-codes'], [404, 500], 404, 500);
test('with codes that no condition asks for', responses, ['connect-failure'], [500]);
test('with conditions about failures', responses, ['reset', 'connect-failure'], []);

test('isRetriableResponse() knows the gRPC statuses by their names', (t) => {
  const names: readonly (readonly [RetryCondition, number])[] = [
    ...([
      ['cancelled', 1],
      ['deadline-exceeded', 4],
      ['resource-exhausted', 8],
    ] as const),
    ...([
      ['internal', 13],
      ['unavailable', 14],
    ] as const),
  ];
  for (const [condition, code] of names) {
    const plan = retryPlan(policy({ conditions: [condition] }), 'POST');
    for (let grpcStatus = 0; grpcStatus <= 16; grpcStatus++)
      t.is(
        isRetriableResponse(plan, { status: 200, grpcStatus, overloaded: false }),
        grpcStatus === code,
        `${condition} ${grpcStatus}`,
      );
  }
});

test('retryPlan() without a policy repeats what had no effect, and what may be done twice', (t) => {
  for (const method of ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])
    t.true(isRetriableFailure(retryPlan(undefined, method), 'remote-reset', true), method);
  for (const method of ['POST', 'PATCH', 'CONNECT', 'get']) {
    const plan = retryPlan(undefined, method);
    t.false(isRetriableFailure(plan, 'remote-reset', true), method);
    t.true(isRetriableFailure(plan, 'refused', true), method);
    t.true(isRetriableFailure(plan, 'connection-failure', false), method);
  }
});

test('backoffMs() doubles up to ten times the base, all of it random', (t) => {
  const most = [1, 2, 3, 4, 5, 9].map((retry) => backoffMs(25, retry, 1));
  t.deepEqual(most, [25, 75, 175, 250, 250, 250]);
  t.is(backoffMs(25, 3, 0), 0);
  t.is(backoffMs(25, 2, 0.5), 37.5);
});
