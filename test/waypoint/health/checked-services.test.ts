import test from 'ava';
import { policyKey } from '../../../mesh/model/authorization.ts';
import type { ServiceBackendPolicy } from '../../../mesh/model/backend-policy.ts';
import {
  DEFAULT_TRAFFIC_POLICY,
  type TrafficPolicy,
  type UpstreamTls,
} from '../../../mesh/model/traffic-policy.ts';
import { ProxyState } from '../../../mesh/proxy/state/store.ts';
import { WaypointStore } from '../../../mesh/proxy/state/waypoint-store.ts';
import { encodeWaypointConfigs } from '../../../mesh/xds/waypoint-codecs.ts';
import { HealthChecker, type Probed } from '../../../waypoint/health/checker.ts';
import { updateChecks } from '../../../waypoint/health/checked-services.ts';
import { HandClock } from '../../support/hand-clock.ts';
import { keyOf, makeService, makeWorkload } from '../../support/workloads.ts';

const KEY = keyOf('shop/web.shop.svc.cluster.local');
const TLS: UpstreamTls = {
  ...{ mode: 'simple', sni: 'a', subjectAltNames: ['a'], roots: '', certificate: '', key: '' },
  ...{ rootsFile: '', certificateFile: '', keyFile: '', insecureSkipVerify: false },
  ...{ revocationLists: '', revocationListsFile: '' },
};

/** Who is asked, of a service with two endpoints. */
async function asked(traffic: Partial<TrafficPolicy>, checks = true): Promise<Probed[]> {
  const state = new ProxyState();
  state.setService(makeService({ name: 'web', ports: ['80:8080', '81:8081'] }));
  for (const [name, ports] of Object.entries({ a: '80:8080', b: '80:9090' }))
    state.setWorkload(makeWorkload({ name, ips: ['10.0.0.1'], serves: { [KEY]: [ports] } }));
  const store = new WaypointStore();
  const backend: ServiceBackendPolicy = {
    ...{ service: KEY, policy: policyKey('shop', 'web') },
    healthCheck: {
      ...{ intervalMs: 1000, timeoutMs: 100, unhealthyThreshold: 1, healthyThreshold: 1 },
      probe: { kind: 'tcp' },
    },
  };
  const policy = { ...DEFAULT_TRAFFIC_POLICY, ...traffic };
  for (const { typeUrl, bytes } of encodeWaypointConfigs({
    traffic: { service: KEY, policy, ports: new Map(), subsets: [] },
    ...(checks && { backend }),
  }))
    store.apply(typeUrl, [{ name: KEY, bytes }], []);
  const probed: Probed[] = [];
  const clock = new HandClock(0);
  using checker = new HealthChecker({
    clock,
    probe: (one) => {
      probed.push(one);
      return Promise.resolve({ kind: 'passed', reason: '' });
    },
    onResult: () => undefined,
    onChange: () => undefined,
  });
  updateChecks(checker, state, store, KEY);
  await clock.advance(700);
  return probed;
}

test('the endpoints of the first port are asked, each at its own target port', async (t) => {
  const found = (await asked({})).map(({ workload, port }) => `${workload.name} ${port}`);
  t.deepEqual(found.sort(), ['a 8080', 'b 9090']);
});

test('without a policy nobody is asked', async (t) => {
  t.deepEqual(await asked({}, false), []);
});

test('a check is made by the TLS of requests, and not at all where nothing may be sent', async (t) => {
  const [first] = await asked({ tls: TLS });
  t.deepEqual(first?.tls, TLS);
  t.deepEqual(await asked({ problem: 'no certificate' }), []);
});
