import test from 'ava';
import { formatAuthority } from '../../../mesh/hbone/authority.ts';
import type { Service } from '../../../mesh/model/service.ts';
import { DEFAULT_TRAFFIC_POLICY } from '../../../mesh/model/traffic-policy.ts';
import { ProxyState } from '../../../mesh/proxy/state/store.ts';
import { WaypointStore } from '../../../mesh/proxy/state/waypoint-store.ts';
import { encodeWaypointConfigs } from '../../../mesh/xds/waypoint-codecs.ts';
import { UpstreamTargets } from '../../../waypoint/upstream/targets.ts';
import { HandClock } from '../../support/hand-clock.ts';
import {
  gatewayAt,
  keyOf,
  makeService,
  makeWorkload,
  podUid,
  type ServiceFields,
} from '../../support/workloads.ts';

const WEB = keyOf('shop/web.shop.svc.cluster.local');
const WAYPOINT = keyOf('shop/waypoint.shop.svc.cluster.local');
const CANARY = keyOf('shop/canary.shop.svc.cluster.local');
const PORT = { service: WEB, port: 80 };
const ASKS = { ingressUseWaypoint: true, waypoint: gatewayAt(WAYPOINT) } as const;

/** The targets of a gateway, in a mesh with a service, its waypoint of two instances, and a canary. */
class Scene implements Disposable {
  readonly state = new ProxyState();
  readonly store = new WaypointStore();
  random = 0;
  readonly targets: UpstreamTargets;

  constructor(isIngress = true) {
    for (const [name, vip] of Object.entries({ waypoint: '10.96.0.9', canary: '10.96.0.8' }))
      this.state.setService(makeService({ name, vips: [vip], ports: ['15008'] }));
    for (const [name, ip, service] of [
      ['waypoint-1', '10.0.0.11', WAYPOINT],
      ['waypoint-2', '10.0.0.12', WAYPOINT],
      ['canary-1', '10.0.0.13', CANARY],
    ] as const)
      this.state.setWorkload(makeWorkload({ name, ips: [ip], serves: { [service]: ['15008'] } }));
    const web = { name: 'web-1', ips: ['10.0.0.1'], serves: { [WEB]: ['80:8080'] } };
    this.state.setWorkload(makeWorkload(web));
    const clock = new HandClock(0);
    this.targets = new UpstreamTargets({
      ...{ state: this.state, store: this.store, network: '', isIngress },
      clock: {
        ...{ now: clock.now, schedule: clock.schedule },
        random: () => this.random,
      },
      self: () => undefined,
    });
  }

  web(fields: Partial<ServiceFields>): Service {
    const service = makeService({ name: 'web', vips: ['10.96.0.1'], ...fields });
    this.state.setService(service);
    this.targets.onChange(new Set([WEB]));
    return service;
  }

  /** Where requests go, and what is asked for there; or why nowhere. */
  way(asked: Parameters<UpstreamTargets['backend']>[0] = PORT): string {
    const found = this.targets.backend(asked, 'HTTP/1.1');
    if ('problem' in found) return `${found.problem}: ${found.reason}`;
    const names = found.endpoints().map(({ workload, port }) => `${workload.name}:${port}`);
    const { through } = found;
    return `${names.join(' ')}${through ? ` for ${formatAuthority(through.authority)}` : ''}`;
  }

  [Symbol.dispose](): void {
    this.targets[Symbol.dispose]();
  }
}

test('what a gateway sends to a service goes to the instances of its waypoint where the service asks for that', (t) => {
  using scene = new Scene();
  scene.web({ waypoint: ASKS.waypoint });
  t.is(scene.way(), 'web-1:8080');
  scene.web(ASKS);
  t.is(scene.way(), 'waypoint-1:15008 waypoint-2:15008 for 10.96.0.1:80');
  scene.web({ waypoint: ASKS.waypoint });
  t.is(scene.way(), 'web-1:8080');
  t.is([...scene.targets.all()].length, 1, 'the way that is not gone any more is forgotten');
});

test('a waypoint sends to the pods of a service, whatever that asks of gateways', (t) => {
  using scene = new Scene(false);
  scene.web({ ...ASKS, waypointProblem: 'it is not ready' });
  t.is(scene.way(), 'web-1:8080');
});

test('a gateway has no way to a service whose waypoint cannot be used or is not known', (t) => {
  using scene = new Scene();
  scene.web({ ...ASKS, waypointProblem: 'it is not ready' });
  t.regex(scene.way(), /^waypoint: the waypoint of web\..* cannot be used: it is not ready$/);
  scene.web({ ...ASKS, waypoint: gatewayAt('shop/other.shop.svc.cluster.local') });
  t.regex(scene.way(), /^waypoint: waypoint shop\/other\..* is no service that is known$/);
});

test('instances of a waypoint come and go, and its end closes the way', (t) => {
  using scene = new Scene();
  scene.web(ASKS);
  t.is(scene.way(), 'waypoint-1:15008 waypoint-2:15008 for 10.96.0.1:80');
  scene.state.deleteWorkload(podUid('waypoint-1'));
  scene.targets.onChange(new Set([WAYPOINT]));
  t.is(scene.way(), 'waypoint-2:15008 for 10.96.0.1:80');
  scene.state.deleteService(WAYPOINT);
  scene.targets.onChange(new Set([WAYPOINT]));
  t.regex(scene.way(), /^waypoint: .* is no service that is known$/);
});

test('a canary waypoint has its share of the requests', (t) => {
  using scene = new Scene();
  const weightedWaypoints = [
    { destination: ASKS.waypoint, weight: 90 },
    { destination: gatewayAt(CANARY), weight: 10 },
  ];
  scene.web({ ...ASKS, weightedWaypoints });
  scene.random = 0.5;
  t.regex(scene.way(), /^waypoint-1/);
  scene.random = 0.95;
  t.is(scene.way(), 'canary-1:15008 for 10.96.0.1:80');
});

test('policies of a service are followed by its waypoint, and not by the gateway before it', (t) => {
  using scene = new Scene();
  scene.web(ASKS);
  const policy = { ...DEFAULT_TRAFFIC_POLICY, problem: 'a Secret is missing' };
  const subsets = [{ name: 'v1', labels: new Map(), policy, ports: new Map() }];
  const traffic = { service: WEB, policy, ports: new Map(), subsets };
  for (const { typeUrl, bytes } of encodeWaypointConfigs({ traffic }))
    t.deepEqual(scene.store.apply(typeUrl, [{ name: WEB, bytes }], [])?.rejected, []);
  scene.targets.onChange(new Set([WEB]));
  t.regex(scene.way(), /^waypoint-1/);
  t.regex(scene.way({ ...PORT, subset: 'v1' }), /^unknown subset/);
  scene.web({ waypoint: ASKS.waypoint });
  t.is(scene.way(), 'refused: a Secret is missing');
});

test('which pod a session lives at is not for a gateway to say where a waypoint chooses', (t) => {
  using scene = new Scene();
  scene.web(ASKS);
  const found = scene.targets.backend(PORT, 'HTTP/1.1');
  if ('problem' in found) throw new Error(found.reason);
  const [endpoint] = found.endpoints();
  if (endpoint === undefined) throw new Error('no endpoint');
  t.is(found.sessions.find(found.sessions.markOf(endpoint)), undefined);
});
