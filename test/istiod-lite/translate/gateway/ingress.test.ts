import test from 'ava';
import { listAt, textAt, valueAt } from '../../../../cli/object-fields.ts';
import { Snapshot } from '../../../../istiod-lite/snapshot.ts';
import { FileSet } from '../../../../istiod-lite/sources/file-set.ts';
import type { GeneratedObject, MeshSettings } from '../../../../istiod-lite/translate/settings.ts';
import { Translator, type ObjectStatus } from '../../../../istiod-lite/translate/translator.ts';
import { VipAllocator } from '../../../../istiod-lite/translate/vips.ts';
import type { GatewayListeners } from '../../../../mesh/model/gateway-listener.ts';
import { DEFAULT_TRUST_DOMAIN } from '../../../../mesh/model/identity.ts';
import {
  decodeGatewayListeners,
  GATEWAY_LISTENERS_TYPE,
} from '../../../../mesh/xds/codec-gateway.ts';

const settings: MeshSettings = {
  ...{ clusterId: 'Kubernetes', clusterDomain: 'cluster.local', rootNamespace: 'istio-system' },
  ...{ trustDomain: DEFAULT_TRUST_DOMAIN, trustDomainAliases: [], network: '' },
  dryRunPolicies: false,
};

class Plane {
  readonly #translator = new Translator(settings, new VipAllocator());

  constructor(...documents: readonly object[]) {
    const files = new FileSet();
    const snapshot = new Snapshot();
    files.setFile('in.yaml', documents.map((each) => JSON.stringify(each)).join('\n---\n'));
    const change = snapshot.apply(files.takeChanges());
    if (change !== undefined) this.#translator.apply(snapshot, change);
  }

  status(kind: string, name: string): ObjectStatus | undefined {
    return [...this.#translator.statuses()].find(
      ({ ref }) => ref.kind === kind && ref.name === name,
    );
  }

  generated(kind: string): GeneratedObject | undefined {
    return this.allGenerated(kind)[0];
  }

  allGenerated(kind: string): readonly GeneratedObject[] {
    return [...this.#translator.generated()].filter((object) => object.kind === kind);
  }

  /** Of Gateway shop/edge. */
  listeners(): GatewayListeners | undefined {
    const resource = this.#translator.resources(GATEWAY_LISTENERS_TYPE)?.get('shop/edge-istio');
    return resource && decodeGatewayListeners(resource.bytes);
  }

  readers(): readonly string[] {
    const resource = this.#translator.resources(GATEWAY_LISTENERS_TYPE)?.get('shop/edge-istio');
    return [...(resource?.readers ?? [])];
  }

  /** What is wrong with each listener, "" for nothing. */
  flaws(): readonly string[] {
    return (this.status('Gateway', 'edge')?.gateway?.listeners ?? []).map(
      ({ name, conditions }) => {
        const bad = conditions.filter(
          ({ type, status }) => (type === 'Conflicted') === (status === 'True'),
        );
        const told = bad.filter(({ type }) => type !== 'Programmed').map(({ reason }) => reason);
        return [name, ...new Set(told)].join(' ');
      },
    );
  }

  accepted(kind: string, name: string): string | undefined {
    const condition = this.status(kind, name)?.parents[0]?.conditions.find(
      ({ type }) => type === 'Accepted',
    );
    return condition && `${condition.status} ${condition.reason}`;
  }
}

const API = 'gateway.networking.k8s.io/v1';

function edge(listeners: readonly object[], spec: object = {}, annotations: object = {}): object {
  return {
    ...{ apiVersion: API, kind: 'Gateway' },
    metadata: { name: 'edge', namespace: 'shop', annotations },
    spec: {
      gatewayClassName: 'istio',
      listeners: listeners.map((each) => ({ protocol: 'HTTP', port: 80, ...each })),
      ...spec,
    },
  };
}

function route(kind: string, name: string, spec: object = {}, metadata: object = {}): object {
  const rules = [{ backendRefs: [{ name: 'web', port: 80 }] }];
  return {
    ...{ apiVersion: API, kind, metadata: { name, namespace: 'shop', ...metadata } },
    spec: { parentRefs: [{ name: 'edge' }], rules, ...spec },
  };
}

const WEB = {
  ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'shop' } },
  spec: { clusterIP: '10.96.0.8', ports: [{ name: 'http', port: 80 }] },
};

test('listeners of one port are refused, all of them, where a client could mean either', (t) => {
  const plane = new Plane(
    edge([
      { name: 'one', hostname: 'a.example.com' },
      { name: 'two', hostname: 'a.example.com' },
      { name: 'other-name', hostname: 'b.example.com' },
      { name: 'http-at-tcp', port: 9000 },
      { name: 'tcp', port: 9000, protocol: 'TCP' },
      { name: 'udp-beside', port: 9000, protocol: 'UDP' },
      { name: 'tcp-1', port: 9001, protocol: 'TCP' },
      { name: 'tcp-2', port: 9001, protocol: 'TCP' },
    ]),
  );
  t.deepEqual(plane.flaws(), [
    ...['one HostnameConflict', 'two HostnameConflict', 'other-name'],
    ...['http-at-tcp ProtocolConflict', 'tcp ProtocolConflict', 'udp-beside'],
    ...['tcp-1 ProtocolConflict', 'tcp-2 ProtocolConflict'],
  ]);
  t.deepEqual(
    plane.listeners()?.listeners.map(({ name }) => name),
    ['other-name', 'udp-beside'],
  );
});

test('a gateway keeps its own ports to itself', (t) => {
  const plane = new Plane(edge([{ name: 'admin', port: 15000 }, { name: 'http' }]));
  t.deepEqual(plane.flaws(), ['admin PortUnavailable', 'http']);
  t.deepEqual(
    plane.listeners()?.listeners.map(({ port }) => port),
    [80],
  );
});

test('what a gateway listens for is told to its own account alone', (t) => {
  const plane = new Plane(edge([{ name: 'http' }]), route('HTTPRoute', 'r'), WEB);
  t.deepEqual(plane.readers(), ['shop/edge-istio']);
  const [http] = plane.listeners()?.listeners ?? [];
  if (http?.serves.kind !== 'http') return t.fail();
  t.deepEqual(http.serves.hosts[0]?.hostnames, ['']);
  t.is(http.serves.hosts[0]?.routes.rules[0]?.name, 'HTTPRoute/shop/r/0');
});

test('what runs a gateway has the ports of its listeners and no more', (t) => {
  const plane = new Plane(
    edge([
      { name: 'one', hostname: 'a.example.com' },
      { name: 'two', hostname: 'b.example.com' },
      { name: 'udp', port: 53, protocol: 'UDP' },
      { name: 'bad', port: 99, protocol: 'HTTPX' },
    ]),
  );
  const service = plane.generated('Service');
  t.is(textAt(service, 'metadata', 'name'), 'edge-istio');
  t.is(textAt(service, 'spec', 'type'), 'LoadBalancer');
  t.deepEqual(
    listAt(service, 'spec', 'ports').map((port) => textAt(port, 'name')),
    ['status-port', 'tcp-80', 'udp-53'],
  );
  const [container] = listAt(
    ...([plane.generated('Deployment'), 'spec', 'template', 'spec', 'containers'] as const),
  );
  t.deepEqual(listAt(container, 'env')[0], { name: 'PROXY_ROLE', value: 'gateway' });
});

test('the type of a gateway’s Service is the one that is asked for', (t) => {
  const annotations = { 'networking.istio.io/service-type': 'ClusterIP' };
  const plane = new Plane(edge([{ name: 'http' }], {}, annotations));
  t.is(textAt(plane.generated('Service'), 'spec', 'type'), 'ClusterIP');
});

/** Type, address and families of each Service that a Gateway with these addresses gets. */
function servicesFor(addresses: readonly object[], annotations: object = {}): readonly unknown[] {
  const plane = new Plane(edge([{ name: 'http' }], { addresses }, annotations));
  return plane
    .allGenerated('Service')
    .map((service) =>
      ['type', 'loadBalancerIP', 'ipFamilies'].map((field) => valueAt(service, 'spec', field)),
    );
}

test('each address that a Gateway asks for has a load balancer of its own', (t) => {
  const v4 = { value: '192.0.2.1' };
  const v6 = { type: 'IPAddress', value: '2001:DB8::1' };
  const balanced = ['LoadBalancer', undefined, undefined];
  const first = ['LoadBalancer', '192.0.2.1', ['IPv4']];
  const inCluster = ['ClusterIP', undefined, undefined];
  t.deepEqual(servicesFor([]), [balanced]);
  t.deepEqual(servicesFor([{ type: 'IPAddress' }]), [balanced]);
  t.deepEqual(servicesFor([{ type: 'Hostname', value: 'a.example.com' }]), [balanced]);
  t.deepEqual(servicesFor([{ type: 'IPAddress' }, v4]), [balanced, first]);
  t.deepEqual(servicesFor([v4, v6]), [
    ...[inCluster, first],
    ['LoadBalancer', '2001:db8::1', ['IPv6']],
  ]);
  // Without a load balancer there is nobody to ask.
  const annotations = { 'networking.istio.io/service-type': 'ClusterIP' };
  t.deepEqual(servicesFor([v4], annotations), [inCluster]);
  t.deepEqual(servicesFor([v4, { type: 'NamedAddress', value: 'public' }]), []);
});

/** Whether a Gateway with these addresses is programmed, and its addresses, while its load balancers have given `ingress`. */
function programmed(
  addresses: readonly object[],
  ingress: object,
  ready = 'True',
): readonly string[] {
  const gateway = edge([{ name: 'http' }], { addresses });
  const services = new Plane(gateway).allGenerated('Service').map((service) => ({
    ...{ ...service, status: { loadBalancer: { ingress: [ingress] } } },
  }));
  const pod = {
    ...{ apiVersion: 'v1', kind: 'Pod', spec: { containers: [{ name: 'proxy', image: 'proxy' }] } },
    metadata: {
      ...{ name: 'edge', namespace: 'shop' },
      labels: { 'gateway.networking.k8s.io/gateway-name': 'edge' },
    },
    status: { phase: 'Running', conditions: [{ type: 'Ready', status: ready }] },
  };
  const status = new Plane(gateway, ...services, pod).status('Gateway', 'edge');
  const condition = status?.conditions.find(({ type }) => type === 'Programmed');
  const given = (status?.gateway?.addresses ?? []).map(({ value }) => value);
  return [`${condition?.status ?? ''} ${condition?.reason ?? ''}`, ...given];
}

test('a Gateway is programmed with the addresses that it asks for, and not with others', (t) => {
  const one = { ip: '192.0.2.1' };
  const name = { hostname: 'a.example.com' };
  t.deepEqual(programmed([], one), ['True Programmed', '192.0.2.1']);
  t.deepEqual(programmed([{ value: '192.0.2.1' }], one), ['True Programmed', '192.0.2.1']);
  t.deepEqual(programmed([{ value: '192.0.2.1' }], one, 'False'), ['False Pending']);
  t.deepEqual(programmed([{ value: '192.0.2.2' }], one), ['False AddressNotUsable']);
  t.deepEqual(programmed([{ value: '192.0.2.1' }, { value: '192.0.2.2' }], one), [
    ...['False AddressNotUsable', '192.0.2.1'],
  ]);
  t.deepEqual(programmed([{ type: 'Hostname' }], one), ['False AddressNotAssigned']);
  t.deepEqual(programmed([{ type: 'Hostname' }], name), ['True Programmed', 'a.example.com']);
  const asked = (value: string): object => ({ type: 'Hostname', value });
  t.deepEqual(programmed([asked('a.example.com')], name), ['True Programmed', 'a.example.com']);
  t.deepEqual(programmed([asked('b.example.com')], name), ['False AddressNotUsable']);
});

test('nothing runs for a Gateway without a listener that can be served', (t) => {
  const plane = new Plane(edge([{ name: 'bad', protocol: 'HTTPX' }]));
  t.is(plane.generated('Deployment'), undefined);
  t.is(valueAt(plane.status('Gateway', 'edge')?.conditions[0], 'reason'), 'ListenersNotValid');
});

test('a class of our controller is ours whatever its name, and istio is not when it is another’s', (t) => {
  const gatewayClass = (name: string, controllerName: string): object => ({
    ...{ apiVersion: API, kind: 'GatewayClass', metadata: { name }, spec: { controllerName } },
  });
  const named = edge([{ name: 'http' }], { gatewayClassName: 'public' });
  const ours = new Plane(named, gatewayClass('public', 'istio.io/gateway-controller'));
  t.is(textAt(ours.generated('Service'), 'metadata', 'name'), 'edge-public');
  const theirs = new Plane(edge([{ name: 'http' }]), gatewayClass('istio', 'example.com/other'));
  t.is(theirs.generated('Service'), undefined);
  t.is(theirs.status('Gateway', 'edge'), undefined);
});

test('of an HTTPRoute and a GRPCRoute with a host name in common the older one is attached', (t) => {
  const at = (creationTimestamp: string): object => ({ creationTimestamp });
  const old = at('2026-01-01T00:00:00Z');
  const young = at('2026-01-02T00:00:00Z');
  const hostnames = { hostnames: ['*.example.com'] };
  const plane = new Plane(
    ...[edge([{ name: 'http' }]), WEB],
    route('GRPCRoute', 'first', { hostnames: ['a.example.com'] }, old),
    route('HTTPRoute', 'second', hostnames, young),
    route('HTTPRoute', 'elsewhere', { hostnames: ['a.example.org'] }, young),
  );
  t.is(plane.accepted('GRPCRoute', 'first'), 'True Accepted');
  t.is(plane.accepted('HTTPRoute', 'second'), 'False Conflicted');
  t.is(plane.accepted('HTTPRoute', 'elsewhere'), 'True Accepted');
});

function rateLimitPolicy(gateway: string): object {
  return {
    ...{ apiVersion: 'halo.dev/v1alpha1', kind: 'RateLimitPolicy' },
    metadata: { name: 'limit', namespace: 'shop' },
    spec: {
      targetRefs: [{ group: 'gateway.networking.k8s.io', kind: 'Gateway', name: gateway }],
      rules: [{ limit: { requests: 5, per: '1s' } }],
    },
  };
}

test('a RateLimitPolicy for a Gateway is told to that gateway, which counts by itself', (t) => {
  const plane = new Plane(edge([{ name: 'http' }]), rateLimitPolicy('edge'));
  const [first, second] = plane.listeners()?.limits ?? [];
  t.is(second, undefined);
  t.like(first, { policy: 'shop/limit', scope: 'local' });
  t.like(first?.rules[0], {
    counter: 'shop/limit/0@Gateway/shop/edge',
    limit: { requests: 5, perMs: 1000, burst: 5 },
  });
  const [condition] = plane.status('RateLimitPolicy', 'limit')?.conditions ?? [];
  t.like(condition, { type: 'Accepted', status: 'True', message: 'attached to Gateway edge' });
});

test('a RateLimitPolicy for the Gateway of somebody else is not accepted', (t) => {
  const other = {
    ...{ apiVersion: API, kind: 'Gateway', metadata: { name: 'other', namespace: 'shop' } },
    spec: {
      gatewayClassName: 'nginx',
      listeners: [{ name: 'http', protocol: 'HTTP', port: 80 }],
    },
  };
  const plane = new Plane(edge([{ name: 'http' }]), other, rateLimitPolicy('other'));
  t.is(plane.listeners()?.limits, undefined);
  const [condition] = plane.status('RateLimitPolicy', 'limit')?.conditions ?? [];
  t.like(condition, {
    ...{ status: 'False', reason: 'Invalid' },
    message: 'Gateway shop/other is no waypoint or gateway of this mesh: its class is nginx',
  });
});
