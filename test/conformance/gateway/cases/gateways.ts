import { listAt, textAt, valueAt } from '../../../../cli/object-fields.ts';
import type { KubernetesObject } from '../../../../deploy/sandbox/api.ts';
import { expectRequests } from '../expected.ts';
import { conditionsOf, gatewayView, listenersView, type View } from '../gateway-mesh.ts';
import { INFRA } from '../namespaces.ts';
import { gateway, httpRoute, routesFrom, to, type Manifest } from '../objects.ts';
import { LISTENING } from './attaching.ts';
import type { Runs } from './run.ts';

type Names =
  | 'GatewayClassObservedGenerationBump'
  | 'GatewayObservedGenerationBump'
  | 'GatewayNameMaximumLength'
  | 'GatewayInvalidParametersRef'
  | 'GatewayInvalidRouteKind'
  | 'GatewayListenerUnsupportedProtocol'
  | 'GatewayModifyListeners'
  | 'GatewayInfrastructure'
  | 'GatewayStaticAddresses'
  | 'GatewayOptionalAddressValue';

const READY = { Accepted: 'True Accepted', Programmed: 'True Programmed' };
const HTTP = { ...LISTENING, kinds: ['HTTPRoute', 'GRPCRoute'], attachedRoutes: 0 };

function conditions(object: Parameters<typeof conditionsOf>[0]): Record<string, string> {
  return conditionsOf(object);
}

/** Of the network of the sandbox's Services, and of none that there is. */
const [USABLE, SECOND, UNUSABLE] = ['10.96.200.7', '10.96.200.8', '192.0.2.1'] as const;

/** Its conditions and its addresses. */
function addressesView(object: KubernetesObject): View {
  const addresses = listAt(object, 'status', 'addresses').map(
    (address) => `${textAt(address, 'type')} ${textAt(address, 'value')}`,
  );
  return { ...conditionsOf(object), addresses };
}

export const gateways: Runs<Names> = {
  async GatewayClassObservedGenerationBump(t, mesh) {
    const gatewayClass = (description: string): Manifest => ({
      ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'GatewayClass' },
      metadata: { name: 'generation-bump' },
      spec: { controllerName: 'istio.io/gateway-controller', description },
    });
    await mesh.use(t, gatewayClass('before'));
    const about = { kind: 'GatewayClass', metadata: { name: 'generation-bump', namespace: '' } };
    const view = { Accepted: 'True Accepted' };
    const before = await mesh.expectStatus(t, about, conditions, view);
    await mesh.apply(gatewayClass('after'));
    const after = await mesh.expectStatus(t, about, conditions, view);
    t.is(after.metadata.generation, (before.metadata.generation ?? 0) + 1);
  },

  async GatewayObservedGenerationBump(t, mesh) {
    const name = 'generation-bump';
    const first = { name: 'http', ...routesFrom('All') };
    await mesh.use(t, gateway(name, [first]));
    const changed = gateway(name, [first, { name: 'alternate', hostname: 'foo.com' }]);
    const before = await mesh.expectStatus(t, changed, gatewayView, {
      ...{ ...READY, listeners: { http: HTTP } },
    });
    await mesh.apply(changed);
    const after = await mesh.expectStatus(t, changed, gatewayView, {
      ...{ ...READY, listeners: { http: HTTP, alternate: HTTP } },
    });
    t.is(after.metadata.generation, (before.metadata.generation ?? 0) + 1);
  },

  async GatewayNameMaximumLength(t, mesh) {
    const name = `gateway-${'n'.repeat(245)}`;
    const route = httpRoute('long-name', [{ name }], [to('infra-backend-v1')]);
    await mesh.use(t, gateway(name, [{ name: 'http' }]), route);
    t.is(name.length, 253);
    await expectRequests(t, mesh, [[{ at: name }, { by: 'infra-backend-v1' }]]);
  },

  async GatewayInvalidParametersRef(t, mesh) {
    const object = (kind: string, parameters: string): Manifest =>
      gateway('parameters', [{ name: 'http' }], {
        spec: {
          infrastructure: { parametersRef: { group: '', kind, name: parameters } },
        },
      });
    const invalid = { Accepted: 'False InvalidParameters', Programmed: 'False Invalid' };
    const manifest = object('ConfigMap', 'missing');
    t.teardown(() => mesh.remove(manifest));
    await mesh.apply(manifest);
    await mesh.expectStatus(t, manifest, conditions, invalid);
    await mesh.apply(object('Secret', 'of-another-kind'));
    await mesh.expectStatus(t, manifest, conditions, invalid);
  },

  async GatewayInvalidRouteKind(t, mesh) {
    const kinds = (...names: string[]) => ({
      allowedRoutes: { kinds: names.map((kind) => ({ kind })) },
    });
    const object = gateway('route-kinds', [
      { name: 'only-invalid', port: 80, ...kinds('InvalidRoute') },
      { name: 'some-invalid', port: 81, ...kinds('InvalidRoute', 'HTTPRoute') },
      { name: 'valid', port: 82, ...kinds('GRPCRoute') },
    ]);
    await mesh.use(t, object);
    const unresolved = { ...LISTENING, attachedRoutes: 0, ResolvedRefs: 'False InvalidRouteKinds' };
    await mesh.expectStatus(t, object, listenersView, {
      'only-invalid': { ...unresolved, Programmed: 'False Invalid', kinds: [] },
      'some-invalid': { ...unresolved, kinds: ['HTTPRoute'] },
      valid: { ...HTTP, kinds: ['GRPCRoute'] },
    });
  },

  async GatewayListenerUnsupportedProtocol(t, mesh) {
    const unknown = { name: 'unknown', port: 81, protocol: 'example.com/unknown' };
    const refused = {
      ...{ ...HTTP, Accepted: 'False UnsupportedProtocol', Programmed: 'False Invalid', kinds: [] },
    };
    const alone = gateway('unsupported', [unknown]);
    t.teardown(() => mesh.remove(alone));
    await mesh.apply(alone);
    await mesh.expectStatus(t, alone, gatewayView, {
      ...{ Accepted: 'False ListenersNotValid', Programmed: 'False Invalid' },
      listeners: { unknown: refused },
    });
    const beside = gateway('unsupported', [unknown, { name: 'http' }]);
    await mesh.apply(beside);
    await mesh.expectStatus(t, beside, gatewayView, {
      ...{ ...READY, Accepted: 'True ListenersNotValid' },
      listeners: { unknown: refused, http: HTTP },
    });
  },

  async GatewayModifyListeners(t, mesh) {
    const name = 'modify-listeners';
    const http = { name: 'http', hostname: 'data.test.com', ...routesFrom('All') };
    const second = { name: 'second', port: 8080 };
    const route = httpRoute('modify', [{ name }], [to('infra-backend-v1')]);
    await mesh.use(t, gateway(name, [http]), route);
    const served = { by: 'infra-backend-v1' };
    const attached = { ...HTTP, attachedRoutes: 1 };
    await mesh.apply(gateway(name, [http, second]));
    await mesh.expectStatus(t, gateway(name, []), listenersView, {
      ...{ http: attached, second: attached },
    });
    await expectRequests(t, mesh, [
      [{ at: name, host: 'data.test.com' }, served],
      [{ at: `${name}:8080` }, served],
    ]);
    await mesh.apply(gateway(name, [second]));
    await mesh.expectStatus(t, gateway(name, []), listenersView, { second: attached });
    await expectRequests(t, mesh, [[{ at: `${name}:8080` }, served]]);
    const [[gone] = []] = await mesh.send([{ url: `http://${name}/` }]);
    t.is(gone?.status, 0);
  },

  async GatewayInfrastructure(t, mesh) {
    const labels = { 'example.com/label': 'a-label' };
    const annotations = { 'example.com/annotation': 'an-annotation' };
    const object = gateway('infrastructure', [{ name: 'http' }], {
      spec: { infrastructure: { labels, annotations } },
    });
    await mesh.use(t, object);
    for (const kind of ['Service', 'ServiceAccount', 'Deployment']) {
      const made = await mesh.mesh.object(kind, 'infrastructure-istio', INFRA);
      t.is(valueAt(made, 'metadata', 'labels', 'example.com/label'), 'a-label', kind);
      t.is(
        valueAt(made, 'metadata', 'annotations', 'example.com/annotation'),
        'an-annotation',
        kind,
      );
    }
    const pod = await mesh.mesh.object('Pod', await mesh.pod('infrastructure-istio'), INFRA);
    t.is(valueAt(pod, 'metadata', 'labels', 'example.com/label'), 'a-label');
    const [owner] = listAt(pod, 'metadata', 'ownerReferences');
    t.not(textAt(owner, 'name'), '');
  },

  async GatewayStaticAddresses(t, mesh) {
    const name = 'static-addresses';
    const asking = (...addresses: readonly object[]): Manifest =>
      gateway(name, [{ name: 'http', port: 8080 }], { spec: { addresses } });
    const ip = (value: string): object => ({ value });
    const fake = { type: 'test.example.com/fake-type', value: 'fake' };
    const route = httpRoute('static', [name], [to('infra-backend-v1')]);
    const served = { by: 'infra-backend-v1' };
    const expect = async (object: Manifest, view: View): Promise<void> => {
      await mesh.apply(object);
      await mesh.expectStatus(t, object, addressesView, view);
      await mesh.mesh.settled();
    };
    const all = asking(fake, ip(UNUSABLE), ip(USABLE));
    t.teardown(() => mesh.remove(all, route));
    await mesh.apply(route);
    const refused = { Accepted: 'False UnsupportedAddress', Programmed: 'False Invalid' };
    await expect(all, { ...refused, addresses: [] });
    // Those that can be had are bound beside one that cannot, and one that another has.
    const taken = mesh.addressOf('same-namespace');
    await expect(asking(ip(UNUSABLE), ip(taken), ip(USABLE)), {
      ...{ ...READY, Programmed: 'False AddressNotUsable', addresses: [`IPAddress ${USABLE}`] },
    });
    await expectRequests(t, mesh, [[{ at: `${USABLE}:8080` }, served]]);
    await expect(asking(ip(USABLE)), { ...READY, addresses: [`IPAddress ${USABLE}`] });
    await expectRequests(t, mesh, [[{ at: `${USABLE}:8080` }, served]]);
    await expect(asking(ip(SECOND), ip(USABLE)), {
      ...{ ...READY, addresses: [`IPAddress ${SECOND}`, `IPAddress ${USABLE}`] },
    });
    await expectRequests(t, mesh, [
      [{ at: `${USABLE}:8080` }, served],
      [{ at: `${SECOND}:8080` }, served],
    ]);
    await expect(asking(ip(SECOND)), { ...READY, addresses: [`IPAddress ${SECOND}`] });
    const [[gone] = []] = await mesh.send([{ url: `http://${USABLE}:8080/` }]);
    t.is(gone?.status, 0);
  },

  async GatewayOptionalAddressValue(t, mesh) {
    const name = 'optional-address';
    const asking = (...addresses: readonly object[]): Manifest =>
      gateway(name, [{ name: 'http', port: 8080 }], { spec: { addresses } });
    const object = asking({ type: 'IPAddress' });
    await mesh.use(t, object, httpRoute('optional', [name], [to('infra-backend-v1')]));
    const made = await mesh.mesh.object('Service', `${name}-istio`, INFRA);
    const given = listAt(made, 'spec', 'clusterIPs').map((ip) => `IPAddress ${String(ip)}`);
    await mesh.expectStatus(t, object, addressesView, { ...READY, addresses: given });
    const served = { by: 'infra-backend-v1' };
    await expectRequests(t, mesh, [[{ at: `${name}:8080` }, served]]);
    const both = asking({ type: 'IPAddress' }, { value: USABLE });
    await mesh.apply(both);
    const addresses = [...given, `IPAddress ${USABLE}`];
    await mesh.expectStatus(t, both, addressesView, { ...READY, addresses });
    await mesh.mesh.settled();
    await expectRequests(t, mesh, [
      [{ at: `${name}:8080` }, served],
      [{ at: `${USABLE}:8080` }, served],
    ]);
    // What balances the load here gives no names.
    const host = asking({ type: 'Hostname' });
    await mesh.apply(host);
    await mesh.expectStatus(t, host, addressesView, {
      ...{ ...READY, Programmed: 'False AddressNotAssigned', addresses: [] },
    });
  },
};
