import { listAt, textAt, valueAt } from '../../../../cli/object-fields.ts';
import { expectRequests } from '../expected.ts';
import { conditionsOf, gatewayView, listenersView } from '../gateway-mesh.ts';
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
  | 'GatewayInfrastructure';

const READY = { Accepted: 'True Accepted', Programmed: 'True Programmed' };
const HTTP = { ...LISTENING, kinds: ['HTTPRoute', 'GRPCRoute'], attachedRoutes: 0 };

function conditions(object: Parameters<typeof conditionsOf>[0]): Record<string, string> {
  return conditionsOf(object);
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
};
