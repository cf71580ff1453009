import test from 'ava';
import { readObjects } from '../../../mesh/kubernetes/read.ts';

function document(spec: string): string {
  return `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r, namespace: shop}
spec:
${spec}`;
}

/** The errors of a rule, as `line field: message`. */
function errorsOf(spec: string): string[] {
  return readObjects(document(spec), 'a.yaml')
    .problems.filter(({ severity }) => severity === 'error')
    .map(({ line, field, message }) => `${line} ${field}: ${message}`);
}

const policy = (fields: string): string => `  host: web\n  trafficPolicy:\n    ${fields}\n`;
const balancer = (fields: string): string => policy(`loadBalancer: ${fields}`);

test('readObjects() reads every field of a DestinationRule', (t) => {
  const { objects, problems } = readObjects(
    document(`  host: web
  exportTo: [".", other]
  workloadSelector: {matchLabels: {app: client}}
  trafficPolicy:
    loadBalancer:
      consistentHash:
        httpCookie: {name: user, path: /, ttl: 0s, attributes: [{name: SameSite, value: Strict}]}
        maglev: {tableSize: 65537}
      localityLbSetting:
        enabled: true
        distribute: [{from: r1/z1/*, to: {r1/z1/*: 80, r2: 20}}]
    connectionPool:
      tcp: {maxConnections: 1, connectTimeout: 1.5s, tcpKeepalive: {time: 7200s}, maxConnectionDuration: 1h, idleTimeout: 0s}
      http: {http1MaxPendingRequests: 1, http2MaxRequests: 2, maxRequestsPerConnection: 3, maxRetries: 4, idleTimeout: 1m30s, h2UpgradePolicy: UPGRADE, useClientProtocol: true, maxConcurrentStreams: 5, http2KeepAlive: {}}
    outlierDetection: {consecutiveErrors: 1, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2, consecutiveGatewayErrors: 3, consecutive5xxErrors: 4, interval: 5m, baseEjectionTime: 15m, maxEjectionPercent: 50, minHealthPercent: 20}
    tls: {mode: SIMPLE, sni: example.com, subjectAltNames: [example.com], insecureSkipVerify: true}
    portLevelSettings:
    - port: {number: 80}
      loadBalancer: {simple: ROUND_ROBIN, warmup: {duration: 60s, minimumPercent: 5, aggression: 1.5}}
    tunnel: {protocol: CONNECT, targetHost: a, targetPort: 1}
    proxyProtocol: {version: V2}
    retryBudget: {percent: 12.5, minRetryConcurrency: 5, budgetInterval: 100ms}
  subsets:
  - name: v1
    labels: {version: v1}
    trafficPolicy: {loadBalancer: {localityLbSetting: {failover: [{from: a, to: b}], failoverPriority: [x, y=z]}}}
`),
    'a.yaml',
  );
  t.deepEqual(
    problems.filter(({ severity }) => severity === 'error'),
    [],
  );
  const rule = objects[0]?.object;
  if (rule?.kind !== 'DestinationRule') return t.fail();
  const { trafficPolicy, subsets } = rule.spec;
  t.is(trafficPolicy?.connectionPool?.tcp?.connectTimeout, 1500);
  t.is(trafficPolicy?.connectionPool?.tcp?.idleTimeout, 0);
  t.is(trafficPolicy?.connectionPool?.http?.idleTimeout, 90_000);
  t.is(trafficPolicy?.loadBalancer?.consistentHash?.httpCookie?.ttl, 0);
  t.is(trafficPolicy?.portLevelSettings[0]?.loadBalancer?.warmup?.aggression, 1.5);
  t.is(trafficPolicy?.retryBudget?.percent, 12.5);
  t.deepEqual(subsets[0]?.trafficPolicy?.loadBalancer?.localityLbSetting?.failoverPriority, [
    'x',
    'y=z',
  ]);
});

const refused = test.macro({
  exec(t, spec: string, ...expected: readonly string[]) {
    t.deepEqual(errorsOf(spec), expected);
  },
  title: (given = '') => `a DestinationRule ${given}`,
});

test('needs a host', refused, '  exportTo: ["*"]\n', '4 spec.host: is required');
test(
  'names a host, not an address',
  refused,
  '  host: 10.0.0.1\n',
  '5 spec.host: is no host name: found "10.0.0.1"',
);
test('may be for all hosts of a domain', refused, '  host: "*.example.com"\n');
test('may be for all hosts', refused, '  host: "*"\n');
test(
  'does not pass a typing error',
  refused,
  policy('loadBalancr: {}'),
  '7 spec.trafficPolicy.loadBalancr: unknown field',
);
test(
  'has one balancer',
  refused,
  balancer('{simple: RANDOM, consistentHash: {useSourceIp: true}}'),
  '7 spec.trafficPolicy.loadBalancer: must have only one of simple, consistentHash',
);
test(
  'hashes something',
  refused,
  balancer('{consistentHash: {maglev: {}}}'),
  '7 spec.trafficPolicy.loadBalancer.consistentHash: must have one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName',
);
test(
  'hashes one thing',
  refused,
  balancer('{consistentHash: {useSourceIp: true, httpHeaderName: a}}'),
  '7 spec.trafficPolicy.loadBalancer.consistentHash: must have only one of httpHeaderName, useSourceIp',
);
test(
  'has a table or a ring',
  refused,
  balancer('{consistentHash: {useSourceIp: true, maglev: {}, ringHash: {}}}'),
  '7 spec.trafficPolicy.loadBalancer.consistentHash: must have only one of ringHash, maglev',
);
test(
  'has a prime number of slots',
  refused,
  balancer('{consistentHash: {useSourceIp: true, maglev: {tableSize: 65536}}}'),
  '7 spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize: must be a prime number: found 65536',
);
test(
  'has no ring of any size',
  refused,
  balancer('{consistentHash: {useSourceIp: true, ringHash: {minimumRingSize: 9000000}}}'),
  '7 spec.trafficPolicy.loadBalancer.consistentHash.ringHash.minimumRingSize: expected a whole number from 0 to 8388608, found number 9000000',
);
test(
  'warms up for some time',
  refused,
  balancer('{warmup: {minimumPercent: 5}}'),
  '7 spec.trafficPolicy.loadBalancer.warmup.duration: is required',
);
test(
  'does not warm up more steeply than evenly',
  refused,
  balancer('{warmup: {duration: 1s, aggression: 0.5}}'),
  '7 spec.trafficPolicy.loadBalancer.warmup.aggression: expected a number from 1 to 1000, found 0.5',
);
test(
  'distributes everything',
  refused,
  balancer('{localityLbSetting: {distribute: [{from: a, to: {a: 80, b: 10}}]}}'),
  '7 spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: must sum up to 100: found 90',
);
test(
  'knows localities',
  refused,
  balancer('{localityLbSetting: {distribute: [{from: "a/*/c", to: {"*": 100}}]}}'),
  '7 spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].from: is no locality: found "a/*/c"',
);
test(
  'fails over to another region',
  refused,
  balancer('{localityLbSetting: {failover: [{from: a, to: a}]}}'),
  '7 spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0]: must name two different regions',
);
test(
  'fails over between regions',
  refused,
  balancer('{localityLbSetting: {failover: [{from: a, to: b/c}]}}'),
  '7 spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0].to: must be a region, without zone and "*"',
);
test(
  'distributes or fails over',
  refused,
  balancer(
    '{localityLbSetting: {distribute: [{from: a, to: {a: 100}}], failover: [{from: a, to: b}]}}',
  ),
  '7 spec.trafficPolicy.loadBalancer.localityLbSetting: must not have distribute together with failover or failoverPriority',
);
test(
  'has durations of at least a millisecond',
  refused,
  policy('connectionPool: {tcp: {connectTimeout: 0s}}'),
  '7 spec.trafficPolicy.connectionPool.tcp.connectTimeout: must be at least 1ms: found "0s"',
);
test(
  'has durations with units',
  refused,
  policy('outlierDetection: {interval: "10"}'),
  '7 spec.trafficPolicy.outlierDetection.interval: is no duration: found "10"',
);
test(
  'has percents up to 100',
  refused,
  policy('outlierDetection: {maxEjectionPercent: 101}'),
  '7 spec.trafficPolicy.outlierDetection.maxEjectionPercent: expected a whole number from 0 to 100, found number 101',
);
test(
  'has a key for mutual TLS',
  refused,
  policy('tls: {mode: MUTUAL}'),
  '7 spec.trafficPolicy.tls: MUTUAL needs clientCertificate and privateKey, or credentialName',
);
test(
  'has one setting for a port',
  refused,
  policy('portLevelSettings: [{port: {number: 80}}, {port: {number: 80}}]'),
  '7 spec.trafficPolicy.portLevelSettings[1]: is there twice: found "80"',
);
test(
  'has subsets with names',
  refused,
  '  host: web\n  subsets: [{labels: {a: b}}]\n',
  '6 spec.subsets[0].name: is required',
);
test(
  'has each subset once',
  refused,
  '  host: web\n  subsets: [{name: a}, {name: a}]\n',
  '6 spec.subsets[1]: is there twice: found "a"',
);
test(
  'has labels that Kubernetes takes',
  refused,
  '  host: web\n  subsets: [{name: a, labels: {a: "b c"}}]\n',
  '6 spec.subsets[0].labels.a: is no label value: found "b c"',
);
test(
  'is exported to namespaces',
  refused,
  '  host: web\n  exportTo: ["a.b"]\n',
  '6 spec.exportTo[0]: is no namespace: found "a.b"',
);
test(
  'is exported to all or to some',
  refused,
  '  host: web\n  exportTo: ["*", a]\n',
  '6 spec.exportTo: must have "*" alone',
);
