import test from 'ava';
import fc from 'fast-check';
import { BinaryWriter } from '@bufbuild/protobuf/wire';
import type { HttpFilter } from '../../../mesh/model/http-filter.ts';
import type {
  HttpBackend,
  HttpMatch,
  HttpRule,
  PortRoutes,
  RetryCondition,
  ServiceRoutes,
  ValueMatch,
} from '../../../mesh/model/http-route.ts';
import { httpRuleProblem } from '../../../mesh/model/http-rule-problem.ts';
import type { ServiceKey } from '../../../mesh/model/service.ts';
import type {
  BalancerPolicy,
  HashSource,
  ServiceTrafficPolicy,
  TrafficPolicy,
} from '../../../mesh/model/traffic-policy.ts';
import { decodeServiceRoutes, encodeServiceRoutes } from '../../../mesh/xds/codec-routes.ts';
import { decodeServiceTraffic, encodeServiceTraffic } from '../../../mesh/xds/codec-traffic.ts';
import { sorted } from '../../../mesh/xds/codec-values.ts';

const text = fc.string({ unit: 'grapheme', maxLength: 12 });
const texts = fc.array(text, { maxLength: 3 });
const word = fc.stringMatching(/^[a-z][a-z0-9.-]{0,12}$/);
const service = fc.tuple(word, word).map((pair) => pair.join('/') as ServiceKey);
const port = fc.integer({ min: 1, max: 65_535 });
const count = fc.nat({ max: 0xffff_ffff });
/** -0 is written as 0. */
const amount = fc.double({ min: 0, noNaN: true }).map((value) => (value === 0 ? 0 : value));
const status = fc.integer({ min: 100, max: 999 });
const share = fc.record({ numerator: amount, denominator: fc.double({ min: 1e-9, noNaN: true }) });

const target = fc.record({ service, port, subset: text }, { requiredKeys: ['service', 'port'] });
const headerName = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/);
const field = fc.record({ name: headerName, value: text });
const fields = fc.array(field, { maxLength: 2 });
const changes = fc.record({
  ...{ set: fields, add: fields, remove: fc.array(headerName, { maxLength: 3 }) },
});
const pathRewrite = fc.oneof(
  fc.record({ kind: fc.constant('full' as const), path: word }),
  fc.record({
    kind: fc.constantFrom('prefix' as const, 'text-prefix' as const),
    replacement: word,
  }),
);
const pathSubstitution = fc.record({
  ...{ kind: fc.constant('regex' as const), pattern: word, substitution: word },
});
const redirect = fc.record(
  {
    ...{ statusCode: status, hostname: word, port, path: pathRewrite },
    scheme: fc.constantFrom('http' as const, 'https' as const),
    writtenPort: fc.constant(true as const),
  },
  { requiredKeys: ['statusCode'] },
);
const cors = fc.record({
  allowOrigins: fc.array(
    fc.record({
      kind: fc.constantFrom(
        'exact' as const,
        'prefix' as const,
        'regex' as const,
        'wildcard' as const,
      ),
      value: text,
    }),
    { maxLength: 3 },
  ),
  ...{ allowMethods: texts, allowHeaders: texts, exposeHeaders: texts },
  ...{ allowCredentials: fc.boolean(), maxAgeSeconds: amount },
  forwardUnmatchedPreflights: fc.boolean(),
});
const filter: fc.Arbitrary<HttpFilter> = fc.oneof(
  fc.record({
    kind: fc.constantFrom('request-headers' as const, 'response-headers' as const),
    changes,
  }),
  fc.record(
    {
      ...{ kind: fc.constant('rewrite' as const), hostname: word },
      path: fc.oneof(pathRewrite, pathSubstitution),
    },
    { requiredKeys: ['kind'] },
  ),
  fc.record({ kind: fc.constant('redirect' as const), redirect }),
  fc.record({ kind: fc.constant('mirror' as const), backend: target, share }),
  fc.record({ kind: fc.constant('cors' as const), cors }),
  fc.record({ kind: fc.constant('delay' as const), delayMs: amount, share }),
  fc.record(
    { kind: fc.constant('abort' as const), status, grpcStatus: count, share },
    { requiredKeys: ['kind', 'status', 'share'] },
  ),
  fc.record({ kind: fc.constant('respond' as const), status, body: text, reason: text }),
);
const filters = fc.array(filter, { maxLength: 3 });
const valueMatch: fc.Arbitrary<ValueMatch> = fc.oneof(
  fc.record(
    {
      ...{ name: headerName, value: text, absent: fc.boolean() },
      kind: fc.constantFrom('exact' as const, 'prefix' as const, 'regex' as const),
    },
    { requiredKeys: ['name', 'kind', 'value'] },
  ),
  fc.record(
    { name: headerName, kind: fc.constant('present' as const), absent: fc.boolean() },
    { requiredKeys: ['name', 'kind'] },
  ),
);
const textMatch = fc.record({
  kind: fc.constantFrom('exact' as const, 'prefix' as const, 'regex' as const),
  value: text,
});
const match: fc.Arbitrary<HttpMatch> = fc.record(
  {
    path: fc.record(
      {
        kind: fc.constantFrom(
          'exact' as const,
          'prefix' as const,
          'text-prefix' as const,
          'regex' as const,
        ),
        ...{ value: text, ignoreCase: fc.boolean() },
      },
      { requiredKeys: ['kind', 'value'] },
    ),
    ...{ method: text, authority: textMatch, scheme: textMatch, sourceNamespace: text },
    headers: fc.array(valueMatch, { maxLength: 3 }),
    queryParams: fc.array(valueMatch, { maxLength: 3 }),
  },
  { requiredKeys: ['headers', 'queryParams'] },
);
const weight = fc.nat(1_000_000);
const backend: fc.Arbitrary<HttpBackend> = fc.oneof(
  fc.record({ target, weight, filters }),
  fc.record({ problem: text, weight, filters }),
);
const condition: fc.Arbitrary<RetryCondition> = fc.constantFrom<RetryCondition[]>(
  ...(['5xx', 'gateway-error', 'reset', 'reset-before-request', 'connect-failure'] as const),
  ...(['refused-stream', 'retriable-4xx', 'retriable-status-codes', 'cancelled'] as const),
  ...(['deadline-exceeded', 'internal', 'resource-exhausted', 'unavailable'] as const),
);
const retry = fc.record(
  {
    ...{ attempts: count, conditions: fc.array(condition), statusCodes: fc.array(status) },
    ...{ perTryTimeoutMs: amount, backoffMs: amount },
  },
  { requiredKeys: ['attempts', 'conditions', 'statusCodes', 'backoffMs'] },
);
const absolute = { absoluteMs: amount };
const sessionPersistence = fc.oneof(
  fc.record(
    {
      ...{ kind: fc.constant('cookie' as const), name: headerName, lifetimeMs: amount },
      ...absolute,
      path: word.map((name) => `/${name}`),
    },
    { requiredKeys: ['kind', 'name', 'path'] },
  ),
  fc.record(
    { kind: fc.constant('header' as const), name: headerName, ...absolute },
    { requiredKeys: ['kind', 'name'] },
  ),
);
const anyRule: fc.Arbitrary<HttpRule> = fc.record(
  {
    ...{ name: text, filters, timeoutMs: amount, retry, sessionPersistence },
    matches: fc.array(match, { maxLength: 3 }),
    backends: fc.array(backend, { maxLength: 3 }),
  },
  { requiredKeys: ['name', 'matches', 'filters', 'backends'] },
);
/** Texts are patterns, too, and values of headers: few of them cannot be used. */
const rule = anyRule.filter((one) => httpRuleProblem(one) === undefined);
const portRoutes: fc.Arbitrary<PortRoutes> = fc.oneof(
  fc.record({
    kind: fc.constant('http' as const),
    routes: fc.record({
      choice: fc.constantFrom('precedence' as const, 'order' as const),
      ...{ grpc: fc.boolean(), rules: fc.array(rule, { maxLength: 3 }) },
    }),
  }),
  fc.record({
    kind: fc.constant('tcp' as const),
    route: fc.record({
      name: text,
      backends: fc.array(
        fc.oneof(fc.record({ target, weight }), fc.record({ problem: text, weight })),
        { maxLength: 3 },
      ),
    }),
  }),
);

/** In the order in which it is read back. */
function mapOf<K extends string | number, V>(
  key: fc.Arbitrary<K>,
  value: fc.Arbitrary<V>,
): fc.Arbitrary<ReadonlyMap<K, V>> {
  return fc
    .array(fc.tuple(key, value), { maxLength: 3 })
    .map((entries) => new Map(sorted(new Map(entries))));
}

const ports = mapOf(port, portRoutes);
const routes: fc.Arbitrary<ServiceRoutes> = fc.record({
  ...{ service, producer: ports, consumer: mapOf(word, ports) },
});

const hash: fc.Arbitrary<HashSource> = fc.oneof(
  fc.record({ kind: fc.constantFrom('header' as const, 'query' as const), name: text }),
  fc.constant({ kind: 'source-ip' as const }),
  fc.record(
    { kind: fc.constant('cookie' as const), name: text, path: text, ttlMs: amount },
    { requiredKeys: ['kind', 'name', 'path'] },
  ),
);
const balancer: fc.Arbitrary<BalancerPolicy> = fc.oneof(
  fc.record({
    kind: fc.constantFrom(...(['round-robin', 'least-request', 'random', 'passthrough'] as const)),
  }),
  fc.record({ kind: fc.constant('ring-hash' as const), source: hash, minimumRingSize: count }),
  fc.record({ kind: fc.constant('maglev' as const), source: hash, tableSize: count }),
);
const outliers = fc.record({
  ...{ consecutive5xx: count, consecutiveGatewayErrors: count },
  ...{ splitExternalLocalOriginErrors: fc.boolean(), consecutiveLocalOriginFailures: count },
  ...{ intervalMs: amount, baseEjectionMs: amount, maxEjectionMs: amount },
  ...{ maxEjectionPercent: amount, minHealthPercent: amount, successRateStdevFactor: amount },
  ...{ successRateMinimumHosts: count, successRateRequestVolume: count },
  ...{ failurePercentageThreshold: amount, failurePercentageMinimumHosts: count },
  failurePercentageRequestVolume: count,
});
const circuitBreaker = fc.record({
  ...{ maxConnections: amount, maxPendingRequests: amount, maxRequests: amount },
  ...{ maxRetries: amount, maxRequestsPerConnection: amount, maxConcurrentStreams: amount },
});
const locality = fc.record({
  distribute: fc.array(fc.record({ from: text, to: mapOf(text, amount) }), { maxLength: 2 }),
  failover: fc.array(fc.record({ from: text, to: text }), { maxLength: 2 }),
  failoverPriority: texts,
});
const tls = fc.record({
  mode: fc.constantFrom('simple' as const, 'mutual' as const, 'mesh' as const),
  ...{ sni: text, subjectAltNames: texts, roots: text, certificate: text, key: text },
  ...{ rootsFile: text, certificateFile: text, keyFile: text },
  ...{ revocationLists: text, revocationListsFile: text },
  insecureSkipVerify: fc.boolean(),
});
const trafficPolicy: fc.Arbitrary<TrafficPolicy> = fc.record(
  {
    ...{ balancer, outliers, circuitBreaker, locality, tls },
    warmup: fc.record({ durationMs: amount, minimumPercent: amount, aggression: amount }),
    ...{ connectTimeoutMs: amount, idleTimeoutMs: amount, http2: fc.boolean() },
    useClientProtocol: fc.boolean(),
    problem: fc.string(),
    retryBudget: fc.record({ percent: amount, minConcurrency: amount, intervalMs: amount }),
  },
  { requiredKeys: ['balancer', 'connectTimeoutMs', 'idleTimeoutMs', 'useClientProtocol'] },
);
const portPolicies = mapOf(port, trafficPolicy);
const subset = fc.record({
  ...{ name: text, labels: mapOf(text, text), policy: trafficPolicy, ports: portPolicies },
});
const traffic: fc.Arbitrary<ServiceTrafficPolicy> = fc.record({
  ...{ service, policy: trafficPolicy, ports: portPolicies },
  subsets: fc.array(subset, { maxLength: 2 }),
});

test('decodeServiceRoutes() reads what encodeServiceRoutes() writes', (t) => {
  fc.assert(
    fc.property(routes, (one) => {
      t.deepEqual(decodeServiceRoutes(encodeServiceRoutes(one)), one);
    }),
    { numRuns: 300 },
  );
});

test('decodeServiceTraffic() reads what encodeServiceTraffic() writes', (t) => {
  fc.assert(
    fc.property(traffic, (one) => {
      t.deepEqual(decodeServiceTraffic(encodeServiceTraffic(one)), one);
    }),
    { numRuns: 300 },
  );
});

test('routes are refused when anything in them is not known: a match that is left out is a wider one', (t) => {
  fc.assert(
    fc.property(routes, fc.integer({ min: 100, max: 200 }), text, (one, number, value) => {
      const unknown = new BinaryWriter().uint32((number << 3) | 2).string(value);
      const bytes = Buffer.concat([encodeServiceRoutes(one), unknown.finish()]);
      t.throws(() => decodeServiceRoutes(bytes), {
        code: 'ERR_XDS_RESOURCE',
        message: /it has fields that are not known here/,
      });
    }),
    { numRuns: 100 },
  );
});

test('a rule that no waypoint can use is refused with its name', (t) => {
  const unusable: HttpRule = {
    ...{ name: 'HTTPRoute/shop/web/0', filters: [], backends: [] },
    matches: [{ path: { kind: 'regex', value: '/(a' }, headers: [], queryParams: [] }],
  };
  const bytes = encodeServiceRoutes({
    service: 'shop/web' as ServiceKey,
    producer: new Map([
      [80, { kind: 'http', routes: { choice: 'precedence', grpc: false, rules: [unusable] } }],
    ]),
    consumer: new Map(),
  });
  t.throws(() => decodeServiceRoutes(bytes), {
    code: 'ERR_XDS_RESOURCE',
    message: /shop\/web.*rule HTTPRoute\/shop\/web\/0: .*missing closing \)/,
  });
});

test('equal maps give equal bytes, whatever order they were made in', (t) => {
  const tcp: PortRoutes = { kind: 'tcp', route: { name: 'r', backends: [] } };
  const make = (order: readonly number[]): ServiceRoutes => ({
    service: 'shop/web' as ServiceKey,
    producer: new Map(order.map((each) => [each, tcp])),
    consumer: new Map(order.map((each) => [`ns-${each}`, new Map([[each, tcp]])])),
  });
  t.deepEqual(encodeServiceRoutes(make([80, 443])), encodeServiceRoutes(make([443, 80])));
});
