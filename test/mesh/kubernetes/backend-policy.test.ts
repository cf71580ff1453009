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
    const head = `apiVersion: halo.dev/v1alpha1\nkind: BackendPolicy\nmetadata: {name: b, namespace: shop}`;
    t.deepEqual(
      errorsOf(`${head}\nspec:\n  targetRefs: [{kind: Service, name: web}]\n${spec}`),
      expected,
    );
  },
  title: (given = '') => `a BackendPolicy ${given}`,
});

test('the example has no mistakes', (t) => {
  const path = new URL('../../../deploy/examples/backend-policy.yaml', import.meta.url);
  t.deepEqual(errorsOf(readFileSync(path, 'utf8')), []);
});

test('says something', refused, '', '4 spec: says nothing');
test(
  'does not pass a typing error',
  refused,
  '  healthCheck: {type: TCP, intervall: 1s}',
  '6 spec.healthCheck.intervall: unknown field',
);
test(
  'has the fields of its kind of check alone',
  refused,
  '  healthCheck: {type: TCP, http: {path: /}}',
  '6 spec.healthCheck.http: must not be set with TCP',
);
test(
  'asks neither too often nor too long',
  refused,
  '  healthCheck: {type: HTTP, interval: 10ms, timeout: 2m}',
  '6 spec.healthCheck.interval: must be from 100ms to 1h',
  '6 spec.healthCheck.timeout: must be from 10ms to 1m',
);
test(
  'has statuses and a path that requests can have',
  refused,
  '  healthCheck: {type: HTTP, http: {path: health, expectedStatuses: [{start: 300, end: 200}]}}',
  '6 spec.healthCheck.http.path: must begin with /',
  '6 spec.healthCheck.http.expectedStatuses[0]: ends before it begins: found 300 to 200',
);
test(
  'puts no other line into a request',
  refused,
  '  healthCheck: {type: HTTP, http: {path: "/a b", host: "a\\r\\nb"}}',
  '6 spec.healthCheck.http.path: is no path: found "/a b"',
  '6 spec.healthCheck.http.host: is no host name: found "a\\r\\nb"',
);
test(
  'falls back to a Service of its own namespace',
  refused,
  '  fallback: {backendRef: {name: spare, port: 80, namespace: other}}',
  "6 spec.fallback.backendRef.namespace: must be left out: a fallback is of the policy's namespace",
);
test(
  'names the port of its fallback',
  refused,
  '  fallback: {backendRef: {name: spare}}',
  '6 spec.fallback.backendRef.port: is required for a Service',
);
test('says something about retries', refused, '  retries: {}', '6 spec.retries: must not be empty');
test(
  'heeds no Retry-After without end',
  refused,
  '  retries: {maxRetryAfter: 10m}',
  '6 spec.retries.maxRetryAfter: must be at most 5m',
);

test('a BackendPolicy is about services', (t) => {
  const text = `apiVersion: halo.dev/v1alpha1
kind: BackendPolicy
metadata: {name: b, namespace: shop}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: g}]
  healthCheck: {type: TCP}
`;
  t.deepEqual(errorsOf(text), ['5 spec.targetRefs[0]: cannot target Gateway']);
});
