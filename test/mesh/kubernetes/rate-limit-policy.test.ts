import { readFileSync } from 'node:fs';
import test from 'ava';
import { readObjects } from '../../../mesh/kubernetes/read.ts';

function errorsOf(text: string): string[] {
  return readObjects(text, 'a.yaml')
    .problems.filter(({ severity }) => severity === 'error')
    .map(({ line, field, message }) => `${line} ${field}: ${message}`);
}

const refused = test.macro({
  exec(t, spec: string, ...expected: readonly string[]) {
    const head = `apiVersion: halo.dev/v1alpha1\nkind: RateLimitPolicy\nmetadata: {name: r, namespace: shop}`;
    t.deepEqual(errorsOf(`${head}\nspec:\n${spec}`), expected);
  },
  title: (given = '') => `a RateLimitPolicy ${given}`,
});

const WEB = '  targetRefs: [{kind: Service, name: web}]\n';
const rule = (text: string): string => `${WEB}  rules:\n  - ${text}\n`;
const LIMIT = 'limit: {requests: 1, per: 1s}';

test('the example has no mistakes', (t) => {
  const path = new URL('../../../deploy/examples/rate-limit.yaml', import.meta.url);
  t.deepEqual(errorsOf(readFileSync(path, 'utf8')), []);
});

test(
  'has targets and rules',
  refused,
  '  {}',
  '4 spec.targetRefs: is required',
  '4 spec.rules: is required',
);
test('has a limit in each rule', refused, rule('{key: []}'), '7 spec.rules[0].limit: is required');
test(
  'does not pass a typing error',
  refused,
  rule(`{${LIMIT}, shadw: true}`),
  '7 spec.rules[0].shadw: unknown field',
);
test(
  'says what it does without Redis',
  ...([
    refused,
    `${WEB}  scope: Global\n  rules: [{${LIMIT}}]`,
    '4 spec.failureMode: is required with scope Global',
  ] as const),
);
test(
  'asks nobody when it is local',
  ...([
    refused,
    `${WEB}  failureMode: Open\n  rules: [{${LIMIT}}]`,
    '6 spec.failureMode: must not be set with scope Local, which asks nobody',
  ] as const),
);
test(
  'counts over a second at least',
  ...([
    refused,
    rule('{limit: {requests: 1, per: 10ms}}'),
    '7 spec.rules[0].limit.per: must be from 1s to 24h',
  ] as const),
);
test(
  'has a cost that a bucket can pay',
  ...([
    refused,
    rule(`{${LIMIT}, cost: 2}`),
    '7 spec.rules[0].cost: is above the burst, so that no request could ever pass',
  ] as const),
);
test(
  'is not for a GatewayClass',
  ...([
    refused,
    `  targetRefs: [{group: gateway.networking.k8s.io, kind: GatewayClass, name: x}]\n  rules: [{${LIMIT}}]`,
    '5 spec.targetRefs[0]: cannot target GatewayClass',
  ] as const),
);
