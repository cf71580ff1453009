import { setImmediate } from 'node:timers/promises';
import { parseIpAddress, socketAddress } from '../../base/address.ts';
import { OWN_PORTS } from '../../mesh/model/ports.ts';
import { applyDelta } from '../../mesh/proxy/state/apply.ts';
import { deltaOf } from '../../mesh/proxy/state/decode.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import type { WorkloadUid } from '../../mesh/model/workload.ts';
import { ADDRESS_TYPE } from '../../mesh/xds/codec.ts';
import { selectRoute } from '../../ztunnel/outbound/route.ts';
import { encodeState, ipOf, makeService, makeWorkload } from '../harness/mesh-state.ts';
import { makeRow, type Row } from '../harness/rows.ts';
import type { Context, Question } from './context.ts';

const CHURN = 1000;
const ENDPOINTS = [10, 1000, 10_000];
const VIPS = 10_000;
const CALLS = 20_000;
const NETWORK = 'network';

/** The in-memory scenarios of istio/ztunnel's benches/basic.rs: what a data thread does between bytes. */
export const state: Question = {
  name: 'state',
  async ask(context) {
    const { note } = context;
    note('state: churn');
    const rows = [await askChurn(context)];
    for (const endpoints of ENDPOINTS) {
      note(`state: ${endpoints} endpoints`);
      rows.push(await askEndpoints(context, endpoints));
    }
    note(`state: ${VIPS} VIPs`);
    rows.push(await askVips(context));
    return rows;
  },
};

/** 1,000 workloads decoded, inserted and removed again. */
async function askChurn({ rounds }: Context): Promise<Row> {
  const messages = encodeState(CHURN, 1).slice(1);
  const names = messages.map(({ name }) => name);
  const proxy = new ProxyState();
  const ours = [];
  for (let round = -1; round < rounds; round++) {
    const beganMs = performance.now();
    await applyMessages(proxy, messages, []);
    await applyMessages(proxy, [], names);
    if (round >= 0) ours.push(performance.now() - beganMs);
  }
  const metric = `${CHURN} workloads inserted and removed`;
  return makeRow({ metric, unit: 'ms', better: 'lower', ours });
}

/** A connection to a service with so many endpoints routed. */
async function askEndpoints({ rounds }: Context, endpoints: number): Promise<Row> {
  const proxy = new ProxyState();
  await applyMessages(proxy, encodeState(endpoints, 1), []);
  const source = makeWorkload(0, 1);
  const tried = new Set<WorkloadUid>();
  const resolved = new Map<string, never>();
  const sourceIp = parseIpAddress(ipOf(11, 0));
  const destination = socketAddress(ipOf(10, 0), 80);
  const route = (): string =>
    selectRoute(proxy, {
      ...{ source, sourceIp, destination, network: NETWORK, ownPorts: OWN_PORTS },
      ...{ tried, resolved, random: Math.random },
    }).kind;
  if (route() !== 'hbone') throw new Error('Cannot measure routing: the route is no tunnel');
  const ours = timeCalls(rounds, route);
  return makeRow({ metric: `route to one of ${endpoints}`, unit: 'us', better: 'lower', ours });
}

/** A VIP found among 10,000. */
async function askVips({ rounds }: Context): Promise<Row> {
  const proxy = new ProxyState();
  await applyMessages(proxy, encodeState(0, VIPS), []);
  const ips = Array.from({ length: VIPS }, (_, index) => makeService(index).addresses[0]?.ip);
  let at = 0;
  const find = (): unknown => {
    const ip = ips[at++ % VIPS];
    return ip === undefined ? undefined : proxy.serviceAt(NETWORK, ip, 'ns-0');
  };
  if (find() === undefined) throw new Error('Cannot measure lookups: a VIP is unknown');
  const ours = timeCalls(rounds, find);
  return makeRow({ metric: `VIP found among ${VIPS}`, unit: 'us', better: 'lower', ours });
}

/** Microseconds a call, a value for each round, after one that is not counted. */
function timeCalls(rounds: number, call: () => unknown): number[] {
  return Array.from({ length: rounds + 1 }, () => {
    const beganMs = performance.now();
    for (let calls = 0; calls < CALLS; calls++) call();
    return ((performance.now() - beganMs) * 1000) / CALLS;
  }).slice(1);
}

async function applyMessages(
  proxy: ProxyState,
  messages: readonly { name: string; bytes: Uint8Array }[],
  removed: readonly string[],
): Promise<void> {
  const delta = deltaOf(ADDRESS_TYPE, [...messages], [...removed]);
  if (delta === undefined) throw new Error('Cannot apply: not a type of the state');
  const { rejected } = await applyDelta(proxy, delta, () => setImmediate(undefined));
  if (rejected[0] !== undefined) throw new Error(`Cannot apply: ${rejected[0].reason}`);
}
