import test from 'ava';
import { WaypointStore } from '../../../mesh/proxy/state/waypoint-store.ts';
import { StateWaiters } from '../../../mesh/proxy/state/waiters.ts';
import type { ServiceKey } from '../../../mesh/model/service.ts';
import { ADDRESS_TYPE } from '../../../mesh/xds/codec.ts';
import { DeltaClient } from '../../../mesh/xds/delta-client.ts';
import { makeNode } from '../../../mesh/xds/node.ts';
import { WAYPOINT_TYPES } from '../../../mesh/xds/waypoint-codecs.ts';
import {
  gatewayYaml,
  serviceYaml,
  TestControlPlane,
  ZTUNNEL,
} from '../../istiod-lite/support/control-plane.ts';

const WEB = 'shop/web.shop.svc.cluster.local' as ServiceKey;

/** A waypoint's store that follows a control plane. */
class Follower implements AsyncDisposable {
  readonly store = new WaypointStore();
  readonly client: DeltaClient;
  readonly #waiters = new StateWaiters();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(control: TestControlPlane, token: string) {
    const facts = { podName: 'wp-1', podNamespace: 'shop', instanceIp: '', nodeName: 'node-a' };
    this.client = new DeltaClient({
      controlPlane: {
        address: `https://127.0.0.1:${control.running.grpcPort}`,
        clusterId: 'Kubernetes',
        token,
      },
      roots: control.rootPem,
      node: makeNode({ type: 'waypoint', ...facts, serviceAccount: 'wp' }, new Map()),
      types: [ADDRESS_TYPE, ...WAYPOINT_TYPES].map((typeUrl) => ({ typeUrl, onDemand: false })),
      apply: (typeUrl, resources, removed) => {
        const change = this.store.apply(typeUrl, resources, removed);
        this.#waiters.announce();
        return Promise.resolve(change?.rejected ?? []);
      },
    });
    this.#running = this.client.run(this.#stop.signal);
  }

  async until(look: () => boolean): Promise<void> {
    await this.#waiters.until(() => (look() ? true : undefined), this.#stop.signal);
  }

  /** The weights of the first rule for port 80. */
  weights(): number[] | undefined {
    const routes = this.store.config(WEB).routes?.producer.get(80);
    if (routes?.kind !== 'http') return undefined;
    return routes.routes.rules[0]?.backends.map(({ weight }) => weight);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }
}

const routeYaml = (
  first: number,
  second: number,
): string => `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: split, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: web }]
  rules: [{ backendRefs: [{ name: web, port: 80, weight: ${first} }, { name: other, port: 80, weight: ${second} }] }]
`;

test('a waypoint follows the routes of its service as they come, change and go', async (t) => {
  await using control = new TestControlPlane();
  control.write('gateway.yaml', gatewayYaml('wp'));
  control.write('web.yaml', serviceYaml('web', '10.96.0.1', 'wp'));
  await control.start();
  const token = await control.issuer.token({ ...ZTUNNEL, namespace: 'shop', serviceAccount: 'wp' });
  await using follower = new Follower(control, token);
  await follower.client.synced;
  t.deepEqual(follower.store.config(WEB).routes?.producer, new Map());

  control.write('route.yaml', routeYaml(90, 10));
  await follower.until(() => follower.weights() !== undefined);
  t.deepEqual(follower.weights(), [90, 10]);
  const before = follower.store.config(WEB);
  control.write('route.yaml', routeYaml(50, 50));
  await follower.until(() => follower.weights()?.[0] === 50);
  t.not(follower.store.config(WEB), before);
  const { revision } = control.running.xds;
  const waited = await control.running.xds.waitFor(revision, 60_000);
  t.deepEqual([waited.done, waited.laggards], [true, []]);

  control.remove('route.yaml');
  await follower.until(() => follower.weights() === undefined);
  t.deepEqual(follower.store.config(WEB).routes?.producer, new Map());

  // A service that leaves the waypoint is gone from it, its routes too.
  control.write('web.yaml', serviceYaml('web', '10.96.0.1'));
  await follower.until(() => follower.store.size === 0);
  t.deepEqual(follower.store.config(WEB), {});
});

test('the status of a route is written with the generation that it is of', async (t) => {
  await using control = new TestControlPlane();
  control.write('gateway.yaml', gatewayYaml('wp'));
  control.write('web.yaml', serviceYaml('web', '10.96.0.1', 'wp'));
  control.write(
    'route.yaml',
    routeYaml(1, 1).replace('namespace: shop', 'namespace: shop, generation: 4'),
  );
  await control.start();
  await control.stop(); // what waits is written at the end
  const { objects } = control.readStatus();
  const route = objects.find(({ kind }) => kind === 'HTTPRoute');
  t.like(route, { name: 'split', parents: { length: 1 } });
  const [parent] = route?.parents ?? [];
  t.deepEqual(parent?.parentRef, { group: '', kind: 'Service', name: 'web' });
  t.is(parent?.controllerName, 'istio.io/gateway-controller');
  t.deepEqual(
    parent?.conditions.map(({ type, status, reason, observedGeneration }) => [
      ...[type, status, reason, observedGeneration],
    ]),
    [
      ['Accepted', 'True', 'Accepted', 4],
      ['ResolvedRefs', 'False', 'BackendNotFound', 4],
      ['ResolvedWaypoints', 'True', 'ResolvedWaypoints', 4],
    ],
  );
});
