import test from 'ava';
import type { RetryCondition } from '../../mesh/model/http-route.ts';
import {
  askedPauseMs,
  backoffMs,
  isRetriableFailure,
  isRetriableResponse,
  retryPlan,
  withBackendRetries,
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

const NOW = Date.UTC(2026, 10, 27, 12, 0, 0);

const pauses = test.macro({
  exec(t, status: number, headers: readonly string[], expected: number | undefined) {
    t.is(askedPauseMs(retryPlan(undefined, 'GET'), status, headers, NOW), expected);
  },
  title: (given = '') => `askedPauseMs() ${given}`,
});
test('reads seconds', pauses, 503, ['retry-after', '3'], 3000);
test('reads a date', pauses, 503, ['retry-after', 'Fri, 27 Nov 2026 12:00:02 GMT'], 2000);
test(
  'ignores a date that is over',
  pauses,
  503,
  ['retry-after', 'Fri, 27 Nov 2026 11:00:00 GMT'],
  undefined,
);
test('ignores more than its limit', pauses, 503, ['retry-after', '11'], undefined);
for (const odd of ['', '-1', '1.5', '1e1', 'soon', '99999999999'])
  test(`ignores ${JSON.stringify(odd)}`, pauses, 503, ['retry-after', odd], undefined);
test('reads a reset in seconds', pauses, 429, ['x-ratelimit-reset', '4'], 4000);
test(
  'reads a reset in Unix time',
  pauses,
  429,
  ['x-ratelimit-reset', String(NOW / 1000 + 5)],
  5000,
);
test('ignores a reset of what was not limited', pauses, 503, ['x-ratelimit-reset', '4'], undefined);
test('asks for nothing', pauses, 429, [], undefined);

test('a backend’s policy bounds the pause that is heeded, and its tries', (t) => {
  const plan = retryPlan(undefined, 'GET');
  const heeded = withBackendRetries(plan, { hedges: false, maxRetryAfterMs: 300_000 });
  t.is(askedPauseMs(heeded, 503, ['retry-after', '300'], NOW), 300_000);
  const deaf = withBackendRetries(plan, { hedges: true, maxRetryAfterMs: 0, perTryTimeoutMs: 7 });
  t.is(askedPauseMs(deaf, 503, ['retry-after', '1'], NOW), undefined);
  t.like(deaf, { hedges: true, perTryTimeoutMs: 7, attempts: 2 });
  t.false(withBackendRetries(retryPlan(undefined, 'POST'), { hedges: true }).hedges);
  const own = retryPlan(policy({ perTryTimeoutMs: 50 }), 'POST');
  t.like(withBackendRetries(own, { hedges: true, perTryTimeoutMs: 7 }), {
    hedges: true,
    perTryTimeoutMs: 50,
  });
  t.is(withBackendRetries(plan, undefined), plan);
});
