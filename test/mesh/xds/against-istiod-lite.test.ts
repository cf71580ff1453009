import { setImmediate } from 'node:timers/promises';
import test from 'ava';
import { parseIpAddress, socketAddress } from '../../../base/address.ts';
import { OWN_PORTS } from '../../../mesh/model/ports.ts';
import { applyDelta } from '../../../mesh/proxy/state/apply.ts';
import { deltaOf } from '../../../mesh/proxy/state/decode.ts';
import { ProxyState } from '../../../mesh/proxy/state/store.ts';
import { StateWaiters } from '../../../mesh/proxy/state/waiters.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../../mesh/xds/codec.ts';
import { DeltaClient } from '../../../mesh/xds/delta-client.ts';
import { makeNode } from '../../../mesh/xds/node.ts';
import { explainOutbound } from '../../../ztunnel/explain.ts';
import {
  denyYaml,
  podYaml,
  serviceYaml,
  TestControlPlane,
  ZTUNNEL,
} from '../../istiod-lite/support/control-plane.ts';
import { connectionOf } from '../../support/policies.ts';

/** A proxy's state that follows a control plane. */
class Follower implements AsyncDisposable {
  readonly state = new ProxyState('node-a');
  readonly client: DeltaClient;
  readonly #waiters = new StateWaiters();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(options: Readonly<{ port: number; rootPem: string; token: string }>) {
    const facts = { podName: ZTUNNEL.podName, podNamespace: ZTUNNEL.namespace, instanceIp: '' };
    this.client = new DeltaClient({
      controlPlane: {
        address: `https://127.0.0.1:${options.port}`,
        clusterId: 'Kubernetes',
        token: options.token,
      },
      roots: options.rootPem,
      node: makeNode(
        { type: 'ztunnel', ...facts, nodeName: 'node-a', serviceAccount: ZTUNNEL.serviceAccount },
        new Map(),
      ),
      types: [ADDRESS_TYPE, AUTHORIZATION_TYPE].map((typeUrl) => ({ typeUrl, onDemand: false })),
      apply: async (typeUrl, resources, removed) => {
        const delta = deltaOf(typeUrl, resources, removed);
        if (delta === undefined) return [];
        const { rejected } = await applyDelta(this.state, delta, () => setImmediate());
        this.#waiters.announce();
        return rejected;
      },
    });
    this.#running = this.client.run(this.#stop.signal);
  }

  async until(look: () => boolean): Promise<void> {
    await this.#waiters.until(() => (look() ? true : undefined), this.#stop.signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

test('a proxy follows istiod-lite through changes, and through its restart', async (t) => {
  await using control = new TestControlPlane();
  control.write('web.yaml', serviceYaml('web', '10.96.0.1') + podYaml('web-1', { ip: '10.1.0.1' }));
  control.write('client.yaml', podYaml('client', { ip: '10.1.0.9', labels: 'app: client' }));
  await control.start();
  const port = control.running.grpcPort;
  const token = await control.issuer.token(ZTUNNEL);
  await using follower = new Follower({ port, rootPem: control.rootPem, token });
  const { state, client } = follower;
  await client.synced;
  t.deepEqual(state.sizes, { workloads: 2, services: 1, policies: 0 });
  const pod = { name: 'client', namespace: 'shop', serviceAccount: 'web' };
  const route = (): string => {
    const source = state.localWorkload(pod);
    if (source === undefined) return 'no client';
    return explainOutbound(state, source, socketAddress('10.96.0.1', 80), {
      ...{ network: '', ownPorts: OWN_PORTS },
    }).outcome.reason;
  };
  t.regex(route(), /to 10\.1\.0\.1:80/);

  control.write('policy.yaml', denyYaml('deny', 'evil'));
  await follower.until(() => state.sizes.policies === 1);
  const web = state.workloadAt('', parseIpAddress('10.1.0.1'));
  if (web === undefined) throw new Error('no web');
  t.is(state.authorize(web, connectionOf('evil/x')).kind, 'deny');
  t.is(state.authorize(web, connectionOf('good/x')).kind, 'allow');

  control.write(
    'web.yaml',
    serviceYaml('web', '10.96.0.1') + podYaml('web-1', { ip: '10.1.0.1', ready: false }),
  );
  await follower.until(() => state.workload(web.uid)?.healthy === false);
  t.regex(route(), /no healthy upstream: .*1 unhealthy/);
  control.write('web.yaml', serviceYaml('web', '10.96.0.1') + podYaml('web-1', { ip: '10.1.0.1' }));
  await follower.until(() => state.workload(web.uid)?.healthy === true);
  t.regex(route(), /to 10\.1\.0\.1:80/);

  await control.stop();
  t.regex(route(), /to 10\.1\.0\.1:80/, 'what was received stays');
  control.remove('policy.yaml');
  control.write('web.yaml', serviceYaml('web', '10.96.0.1') + podYaml('web-2', { ip: '10.1.0.2' }));
  await control.start({ GRPC_PORT: String(port) });
  await follower.until(() => state.sizes.policies === 0 && state.workload(web.uid) === undefined);
  t.regex(route(), /to 10\.1\.0\.2:80/);
});
