/**
 * What do 10,000 workloads and 1,000 services cost a data thread: memory, time to apply, time to route a connection?
 * Prints one line each; the messages go through their real encoding.
 *
 *     node --expose-gc bench/state.ts [workloads] [services]
 */
import { setImmediate } from 'node:timers/promises';
import { parseIpAddress, socketAddress } from '../base/address.ts';
import { OWN_PORTS } from '../mesh/model/ports.ts';
import type { WorkloadUid } from '../mesh/model/workload.ts';
import { applyDelta } from '../mesh/proxy/state/apply.ts';
import { deltaOf } from '../mesh/proxy/state/decode.ts';
import { ProxyState } from '../mesh/proxy/state/store.ts';
import { ADDRESS_TYPE } from '../mesh/xds/codec.ts';
import { selectRoute } from '../ztunnel/outbound/route.ts';
import { encodeState, ipOf, makeWorkload } from './harness/mesh-state.ts';

const workloadCount = Number(process.argv[2] ?? 10_000);
const serviceCount = Number(process.argv[3] ?? 1_000);
const messages = encodeState(workloadCount, serviceCount);
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

const source = makeWorkload(0, serviceCount);
const rounds = 20_000;
const tried = new Set<WorkloadUid>();
const resolved = new Map();
const route = (index: number): string =>
  selectRoute(state, {
    source,
    sourceIp: parseIpAddress('11.0.0.0'),
    destination: socketAddress(ipOf(10, index % serviceCount), 80),
    network: 'network',
    ownPorts: OWN_PORTS,
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
