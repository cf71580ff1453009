import test from 'ava';
import { setTimeout as delay } from 'node:timers/promises';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../mesh/xds/codec.ts';
import { DeltaClient } from '../../mesh/xds/delta-client.ts';
import { makeNode } from '../../mesh/xds/node.ts';
import {
  podYaml,
  serviceYaml,
  TestControlPlane,
  ZTUNNEL,
} from '../istiod-lite/support/control-plane.ts';
import { withDeadline } from '../support/deadline.ts';

const PROXIES = 500;
/** What one second may hold of them. */
const MOST_IN_A_SECOND = 0.2 * PROXIES;
/** Until each of them waits as long between two tries as it ever will; longer changes nothing more. */
const AWAY_MS = 30_000;
const BACK_WITHIN_MS = 120_000;

/** What a proxy has done since the control plane came back, in milliseconds of performance.now(). */
type Events = { readonly attemptsMs: number[]; readonly connectedMs: number[] };

class Proxy implements AsyncDisposable {
  readonly events: Events = { attemptsMs: [], connectedMs: [] };
  readonly client: DeltaClient;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #connected = Promise.withResolvers<undefined>();

  constructor(index: number, options: Readonly<{ port: number; roots: string; token: string }>) {
    const { port, roots, token } = options;
    const facts = { podNamespace: ZTUNNEL.namespace, serviceAccount: ZTUNNEL.serviceAccount };
    const own = { podName: `ztunnel-${index}`, nodeName: `node-${index}`, instanceIp: '' };
    this.client = new DeltaClient({
      controlPlane: { address: `https://127.0.0.1:${port}`, clusterId: 'Kubernetes', token },
      roots,
      node: makeNode({ type: 'ztunnel', ...facts, ...own }, new Map()),
      types: [ADDRESS_TYPE, AUTHORIZATION_TYPE].map((typeUrl) => ({ typeUrl, onDemand: false })),
      apply: () => Promise.resolve([]),
      onEvent: (event) => {
        const nowMs = performance.now();
        if (event.kind === 'terminated') this.events.attemptsMs.push(nowMs + event.retryInMs);
        if (event.kind !== 'connected') return;
        this.events.connectedMs.push(nowMs);
        this.#connected.resolve(undefined);
      },
    });
    this.#running = this.client.run(this.#stop.signal);
  }

  /** Settles with the next stream. */
  async reconnected(): Promise<void> {
    this.#connected = Promise.withResolvers();
    await this.#connected.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

/** How many of the events after `fromMs` fell into each second. */
function perSecond(times: readonly number[], fromMs: number): number[] {
  const seconds = times.map((time) => Math.floor((time - fromMs) / 1000));
  const length = Math.max(-1, ...seconds) + 1;
  const counts = new Array<number>(length).fill(0);
  for (const second of seconds) if (second >= 0) counts[second] = (counts[second] ?? 0) + 1;
  return counts;
}

test('500 proxies that come back to a control plane that was away spread over the seconds', async (t) => {
  t.timeout(300_000);
  await using stack = new AsyncDisposableStack();
  const control = stack.use(new TestControlPlane());
  control.write('web.yaml', serviceYaml('web', '10.96.0.1') + podYaml('web-1', { ip: '10.1.0.1' }));
  await control.start();
  const port = control.running.grpcPort;
  const proxies: Proxy[] = [];
  for (let index = 0; index < PROXIES; index++) {
    const account = { ...ZTUNNEL, podName: `ztunnel-${index}`, node: `node-${index}` };
    const token = await control.issuer.token(account);
    proxies.push(stack.use(new Proxy(index, { port, roots: control.rootPem, token })));
  }
  const synced = Promise.all(proxies.map(({ client }) => client.synced));
  await withDeadline(synced, BACK_WITHIN_MS, 'all proxies are connected for the first time');

  await control.stop();
  const back = Promise.all(proxies.map((proxy) => proxy.reconnected()));
  await delay(AWAY_MS);
  await control.start({ GRPC_PORT: String(port) });
  const backAtMs = performance.now();
  await withDeadline(back, BACK_WITHIN_MS, 'all proxies are back');
  const tookMs = performance.now() - backAtMs;

  const attempts = perSecond(
    proxies.flatMap(({ events }) => events.attemptsMs).filter((at) => at < backAtMs + tookMs),
    backAtMs,
  );
  const connected = perSecond(
    proxies.flatMap(({ events }) => events.connectedMs),
    backAtMs,
  );
  t.log(`back after ${Math.round(tookMs / 1000)} s; attempts per second: ${attempts.join(' ')}`);
  t.log(`new streams per second: ${connected.join(' ')}`);
  t.is(
    connected.reduce((sum, count) => sum + count, 0),
    PROXIES,
    'each comes back once, and stays',
  );
  t.true(Math.max(...attempts) <= MOST_IN_A_SECOND, `attempts: ${Math.max(...attempts)}`);
  t.true(Math.max(...connected) <= MOST_IN_A_SECOND, `streams: ${Math.max(...connected)}`);
});
