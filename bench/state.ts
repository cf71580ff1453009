/**
 * What do 10,000 workloads and 1,000 services cost a data thread: memory, time to apply, time to route a connection?
 * Prints one line each; the messages go through their real encoding.
 *
 *     node --expose-gc bench/state.ts [workloads] [services]
 */
import { setImmediate } from 'node:timers/promises';
import { parseIpAddress, socketAddress } from '../base/address.ts';
import { DEFAULT_TRUST_DOMAIN } from '../mesh/model/identity.ts';
import { serviceKey, type PortMapping, type Service } from '../mesh/model/service.ts';
import type { Workload, WorkloadUid } from '../mesh/model/workload.ts';
import { applyDelta } from '../mesh/proxy/state/apply.ts';
import { deltaOf } from '../mesh/proxy/state/decode.ts';
import { ProxyState } from '../mesh/proxy/state/store.ts';
import { ADDRESS_TYPE, encodeAddress } from '../mesh/xds/codec.ts';
import { selectRoute } from '../ztunnel/outbound/route.ts';

const workloadCount = Number(process.argv[2] ?? 10_000);
const serviceCount = Number(process.argv[3] ?? 1_000);
const ports: readonly PortMapping[] = [
  { servicePort: 80, targetPort: 8080, appProtocol: 'HTTP11' },
  { servicePort: 443, targetPort: 8443, appProtocol: 'TLS' },
];

const namespaceOf = (index: number): string => `ns-${index % 50}`;
const ipOf = (first: number, index: number): string =>
  `${first}.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;
const hostnameOf = (index: number): string =>
  `svc-${index}.${namespaceOf(index)}.svc.cluster.local`;

function makeService(index: number): Service {
  return {
    name: `svc-${index}`,
    namespace: namespaceOf(index),
    hostname: hostnameOf(index),
    addresses: [{ network: 'network', ip: parseIpAddress(ipOf(10, index)) }],
    ports,
    subjectAltNames: [],
    weightedWaypoints: [],
    loadBalancing: { routingPreference: [], mode: 'UNSPECIFIED', allowUnhealthy: false },
    ipFamilies: 'AUTOMATIC',
    canonical: true,
    ingressUseWaypoint: false,
    namespaceOnly: false,
  };
}

function makeWorkload(index: number): Workload {
  const service = index % serviceCount;
  const namespace = namespaceOf(service);
  const name = `svc-${service}-7d9c5b8f6d-${index.toString(36).padStart(5, 'x')}`;
  return {
    uid: `Kubernetes//Pod/${namespace}/${name}` as WorkloadUid,
    name,
    namespace,
    addresses: [parseIpAddress(ipOf(11, index))],
    hostname: '',
    network: 'network',
    clusterId: 'Kubernetes',
    tunnelProtocol: 'HBONE',
    nativeTunnel: false,
    trustDomain: DEFAULT_TRUST_DOMAIN,
    serviceAccount: `svc-${service}`,
    node: `node-${index % 100}`,
    canonicalName: `svc-${service}`,
    canonicalRevision: 'latest',
    workloadType: 'DEPLOYMENT',
    workloadName: `svc-${service}`,
    healthy: true,
    hostNetwork: false,
    locality: { region: 'region', zone: `zone-${index % 3}`, subzone: '' },
    capacity: 1,
    services: new Map([[serviceKey(namespace, hostnameOf(service)), ports]]),
    authorizationPolicies: [],
  };
}

const messages: { name: string; bytes: Uint8Array }[] = [];
for (let index = 0; index < serviceCount; index++) {
  const service = makeService(index);
  const name = serviceKey(service.namespace, service.hostname);
  messages.push({ name, bytes: encodeAddress({ kind: 'service', service }) });
}
for (let index = 0; index < workloadCount; index++) {
  const workload = makeWorkload(index);
  messages.push({ name: workload.uid, bytes: encodeAddress({ kind: 'workload', workload }) });
}

const heapMb = (): number => {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / 2 ** 20;
};
const before = heapMb();
const state = new ProxyState('node-0');
const start = performance.now();
let longestMs = 0;
let sliceStart = start;
const delta = deltaOf(ADDRESS_TYPE, messages, []);
if (delta === undefined) throw new Error('not a type of the state');
const { rejected } = await applyDelta(state, delta, async () => {
  longestMs = Math.max(longestMs, performance.now() - sliceStart);
  await setImmediate();
  sliceStart = performance.now();
});
if (rejected.length > 0) throw new Error(JSON.stringify(rejected[0]));
const applyMs = performance.now() - start;
const after = heapMb();

const source = makeWorkload(0);
const rounds = 20_000;
const tried = new Set<WorkloadUid>();
const resolved = new Map();
const route = (index: number): string =>
  selectRoute(state, {
    source,
    sourceIp: parseIpAddress('11.0.0.0'),
    destination: socketAddress(ipOf(10, index % serviceCount), 80),
    network: 'network',
    tried,
    resolved,
    random: Math.random,
  }).kind;
for (let round = 0; round < rounds; round++) route(round);
const routeStart = performance.now();
for (let round = 0; round < rounds; round++) {
  if (route(round) !== 'hbone') throw new Error('not routed');
}
const routeUs = ((performance.now() - routeStart) * 1000) / rounds;

console.log(`${workloadCount} workloads, ${serviceCount} services`);
if (globalThis.gc) console.log(`heap            ${(after - before).toFixed(1)} MB`);
console.log(`apply           ${applyMs.toFixed(0)} ms, longest slice ${longestMs.toFixed(1)} ms`);
console.log(`route           ${routeUs.toFixed(2)} us`);
