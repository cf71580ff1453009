import test from 'ava';
import * as fc from 'fast-check';
import { policyKey } from '../../../mesh/model/authorization.ts';
import type { ServiceBackendPolicy } from '../../../mesh/model/backend-policy.ts';
import { serviceKey } from '../../../mesh/model/service.ts';
import {
  decodeServiceBackendPolicy,
  encodeServiceBackendPolicy,
} from '../../../mesh/xds/codec-backend.ts';

const service = serviceKey('shop', 'web.shop.svc.cluster.local');
const number = fc.integer({ min: 1, max: 1_000_000 });
const text = fc.string({ maxLength: 20, unit: 'grapheme-ascii' });
const status = fc.integer({ min: 100, max: 599 });
const probe = fc.oneof(
  fc.constant({ kind: 'tcp' as const }),
  fc.record({ kind: fc.constant('grpc' as const), service: text }),
  fc.record({
    ...{ kind: fc.constant('http' as const), path: text, host: text },
    statuses: fc.array(fc.record({ start: status, end: status }), { maxLength: 3 }),
  }),
);
const policy: fc.Arbitrary<ServiceBackendPolicy> = fc.record(
  {
    service: fc.constant(service),
    policy: fc.constant(policyKey('shop', 'web')),
    healthCheck: fc.record(
      {
        ...{ port: fc.integer({ min: 1, max: 65_535 }), intervalMs: number, timeoutMs: number },
        ...{ unhealthyThreshold: number, healthyThreshold: number, probe },
      },
      {
        requiredKeys: [
          'intervalMs',
          'timeoutMs',
          'unhealthyThreshold',
          'healthyThreshold',
          'probe',
        ],
      },
    ),
    adaptiveConcurrency: fc.record({
      ...{ samplePercentile: number, maxConcurrency: number, updateIntervalMs: number },
      minRtt: fc.record({
        ...{ intervalMs: number, jitterPercent: number, requestCount: number },
        ...{ minConcurrency: number, bufferPercent: number },
      }),
    }),
    fallback: fc.record({ service: fc.constant(service), port: fc.constant(80) }),
    retries: fc.record(
      { hedges: fc.boolean(), perTryTimeoutMs: number, maxRetryAfterMs: fc.nat(300_000) },
      { requiredKeys: ['hedges'] },
    ),
  },
  { requiredKeys: ['service', 'policy'] },
);

test('decodeServiceBackendPolicy() reads what encodeServiceBackendPolicy() writes', (t) => {
  fc.assert(
    fc.property(policy, (given) => {
      t.deepEqual(decodeServiceBackendPolicy(encodeServiceBackendPolicy(given)), given);
    }),
    { numRuns: 300 },
  );
});

test('a check that would come around without end, or is of no known kind, is refused by name', (t) => {
  const given: ServiceBackendPolicy = {
    ...{ service, policy: policyKey('shop', 'web') },
    healthCheck: {
      ...{ intervalMs: 1000, timeoutMs: 1000, unhealthyThreshold: 1, healthyThreshold: 1 },
      probe: { kind: 'tcp' },
    },
  };
  const refused = (change: object): void => {
    const healthCheck = { ...given.healthCheck, ...change };
    const bytes = encodeServiceBackendPolicy({ ...given, healthCheck } as ServiceBackendPolicy);
    t.throws(() => decodeServiceBackendPolicy(bytes), {
      code: 'ERR_XDS_RESOURCE',
      message: /web\.shop\.svc\.cluster\.local.*bad value/,
    });
  };
  for (const field of ['intervalMs', 'timeoutMs', 'unhealthyThreshold', 'healthyThreshold'])
    refused({ [field]: 0 });
  t.throws(() => decodeServiceBackendPolicy(new Uint8Array([1, 2, 3])));
});
