import { listAt, textAt, valueAt } from '../../../../cli/object-fields.ts';
import type { KubernetesObject } from '../../../../deploy/sandbox/api.ts';
import { makeTestCa } from '../../../support/test-ca.ts';
import { conditionsOf, type GatewayMesh, type View } from '../gateway-mesh.ts';
import { gateway, httpRoute, path, route, service, to, when, type Manifest } from '../objects.ts';
import { ask, authorities, CA, pairOf, secret, terminate, tlsBackend } from '../tls.ts';
import { FINE } from './attaching.ts';
import { byMethod, expectCalls } from './grpc.ts';
import type { Runs } from './run.ts';
import { INFRA } from '../namespaces.ts';

type Names =
  | 'BackendTLSPolicy'
  | 'BackendTLSPolicySANValidation'
  | 'BackendTLSPolicyConflictResolution'
  | 'BackendTLSPolicyInvalidCACertificateRef'
  | 'BackendTLSPolicyInvalidKind'
  | 'BackendTLSPolicyObservedGenerationBump'
  | 'BackendTLSPolicyTLSRouteTerminate'
  | 'BackendTLSPolicyGRPCRoute'
  | 'GatewayTLSBackendClientCertificate'
  | 'GatewayInvalidTLSBackendConfiguration';

const HOST = 'abc.example.com';

function policy(
  name: string,
  target: string,
  validation: object,
  more: Readonly<{ sectionName?: string }> = {},
): Manifest {
  return {
    ...{ apiVersion: 'gateway.networking.k8s.io/v1', kind: 'BackendTLSPolicy' },
    metadata: { name, namespace: INFRA },
    spec: { targetRefs: [{ group: '', kind: 'Service', name: target, ...more }], validation },
  };
}

function trust(name: string, hostname = HOST, kind = 'ConfigMap', group = ''): object {
  return { caCertificateRefs: [{ group, kind, name }], hostname };
}

/** Conditions by the Gateway's name. */
function ancestorsView(object: KubernetesObject): View {
  return Object.fromEntries(
    listAt(object, 'status', 'ancestors').map((ancestor) => [
      textAt(valueAt(ancestor, 'ancestorRef'), 'name'),
      conditionsOf(ancestor, object.metadata.generation),
    ]),
  );
}

function toTls(name: string, prefix: string): Readonly<Record<string, unknown>> {
  return when([path(prefix)], to(name, { port: 443 }));
}

async function get(
  mesh: GatewayMesh,
  prefix: string,
): Promise<Readonly<{ status: number | undefined; seen: unknown }>> {
  const [[answer] = []] = await mesh.send([{ url: `http://same-namespace${prefix}` }]);
  const status = answer?.status;
  return { status, seen: status === 200 ? JSON.parse(answer?.text ?? 'null') : undefined };
}

const SEEN = { authorized: false, host: 'same-namespace' };

export const backendTls: Runs<Names> = {
  async BackendTLSPolicy(t, mesh) {
    const good = policy('good', 'tls-good', trust('authorities'), { sectionName: 'https' });
    const wrong = policy('wrong-host', 'tls-wrong-host', trust('authorities', 'other.example.com'));
    const stranger = policy('wrong-ca', 'tls-wrong-ca', trust('strangers'));
    await mesh.use(
      ...([t, authorities('authorities', CA.rootPem)] as const),
      authorities('strangers', makeTestCa().rootPem),
      ...['tls-good', 'tls-wrong-host', 'tls-wrong-ca'].flatMap((name) =>
        tlsBackend(name, pairOf(CA, HOST)),
      ),
    );
    const rules = ['good', 'wrong-host', 'wrong-ca'].map((name) =>
      toTls(`tls-${name}`, `/${name}`),
    );
    const routed = httpRoute('backend-tls', ['same-namespace'], rules);
    await mesh.use(t, routed, good, wrong, stranger);
    for (const each of [good, wrong, stranger])
      await mesh.expectStatus(t, each, ancestorsView, { 'same-namespace': FINE });
    const { status, seen } = await get(mesh, '/good');
    t.is(status, 200);
    t.like(seen, { backend: 'tls-good', sni: HOST, authorized: SEEN.authorized });
    t.is((await get(mesh, '/wrong-host')).status, 503);
    t.is((await get(mesh, '/wrong-ca')).status, 503);
    // Without its policy, HTTP is what is spoken, and this backend speaks none.
    await mesh.remove(good);
    t.is((await get(mesh, '/good')).status, 503);
  },

  async BackendTLSPolicySANValidation(t, mesh) {
    const uri = 'spiffe://abc.example.com/test-identity';
    const { chainPem, privateKeyPem: key } = CA.issue('spiffe://cluster.local/ns/a/sa/b', {
      ...{ uris: [uri], dnsNames: [HOST] },
    });
    const sans = (...subjectAltNames: readonly object[]): object => ({
      ...trust('authorities', 'sni.example.com'),
      subjectAltNames,
    });
    const names = { Hostname: 'hostname', URI: 'uri' } as const;
    const san = (type: keyof typeof names, value: string): object => ({
      type,
      [names[type]]: value,
    });
    const cases: readonly (readonly [name: string, validation: object, status: number])[] = [
      ['host', sans(san('Hostname', HOST)), 200],
      ['uri', sans(san('URI', uri)), 200],
      ['several', sans(san('Hostname', 'x.example.com'), san('URI', uri)), 200],
      ['wrong-host', sans(san('Hostname', 'x.example.com')), 503],
      ['wrong-uri', sans(san('URI', 'spiffe://abc.example.com/other')), 503],
    ];
    await mesh.use(
      ...([t, authorities('authorities', CA.rootPem)] as const),
      ...cases.flatMap(([name]) => tlsBackend(`san-${name}`, { chain: chainPem.join(''), key })),
    );
    const rules = cases.map(([name]) => toTls(`san-${name}`, `/${name}`));
    await mesh.use(
      ...([t, httpRoute('san', ['same-namespace'], rules)] as const),
      ...cases.map(([name, validation]) => policy(`san-${name}`, `san-${name}`, validation)),
    );
    for (const [name, , expected] of cases) {
      const { status, seen } = await get(mesh, `/${name}`);
      t.is(status, expected, name);
      if (expected === 200) t.like(seen, { backend: `san-${name}`, sni: 'sni.example.com' });
    }
  },

  async BackendTLSPolicyConflictResolution(t, mesh) {
    const whole = policy('a-whole', 'tls-conflict', trust('authorities'));
    const later = policy('b-later', 'tls-conflict', trust('authorities', 'other.example.com'));
    const port = policy('c-port', 'tls-conflict', trust('authorities', 'other.example.com'), {
      sectionName: 'https',
    });
    await mesh.use(
      ...([t, authorities('authorities', CA.rootPem)] as const),
      ...tlsBackend('tls-conflict', pairOf(CA, HOST)),
    );
    await mesh.use(t, httpRoute('conflict', ['same-namespace'], [toTls('tls-conflict', '/')]));
    await mesh.use(t, whole);
    await mesh.use(t, later);
    await mesh.expectStatus(t, whole, ancestorsView, { 'same-namespace': FINE });
    await mesh.expectStatus(t, later, ancestorsView, {
      'same-namespace': { ...FINE, Accepted: 'False Conflicted' },
    });
    t.is((await get(mesh, '/')).status, 200);
    // One for the port goes before one for all of them.
    await mesh.use(t, port);
    await mesh.expectStatus(t, port, ancestorsView, { 'same-namespace': FINE });
    t.is((await get(mesh, '/')).status, 503);
    await mesh.remove(port, whole);
    await mesh.expectStatus(t, later, ancestorsView, { 'same-namespace': FINE });
  },

  async BackendTLSPolicyInvalidCACertificateRef(t, mesh) {
    await expectInvalid(mesh, t, trust('absent'), 'InvalidCACertificateRef');
    await mesh.use(t, authorities('malformed', 'no certificate'));
    await expectInvalid(mesh, t, trust('malformed'), 'InvalidCACertificateRef');
  },

  async BackendTLSPolicyInvalidKind(t, mesh) {
    const validation = trust('authorities', HOST, 'Bundle', 'example.com');
    await expectInvalid(mesh, t, validation, 'InvalidKind');
  },

  async BackendTLSPolicyObservedGenerationBump(t, mesh) {
    const made = (hostname: string): Manifest =>
      policy('bump', 'infra-backend-v1', trust('authorities', hostname));
    await mesh.use(
      ...([t, authorities('authorities', CA.rootPem), made(HOST)] as const),
      httpRoute('bump', ['same-namespace'], [to('infra-backend-v1')]),
    );
    const view = { 'same-namespace': FINE };
    const before = await mesh.expectStatus(t, made(HOST), ancestorsView, view);
    await mesh.apply(made('other.example.com'));
    const after = await mesh.expectStatus(t, made(HOST), ancestorsView, view);
    t.is(after.metadata.generation, (before.metadata.generation ?? 0) + 1);
  },

  async BackendTLSPolicyTLSRouteTerminate(t, mesh) {
    await mesh.use(
      ...([t, authorities('authorities', CA.rootPem)] as const),
      secret('again', pairOf(CA, 'again.example.com')),
      ...tlsBackend('tls-again', pairOf(CA, HOST)),
      policy('again', 'tls-again', trust('authorities')),
      gateway('again', [{ name: 'tls', port: 443, protocol: 'TLS', ...terminate('again') }]),
    );
    const rules = [{ backendRefs: [{ name: 'tls-again', port: 443 }] }];
    await mesh.use(
      t,
      route('TLSRoute', 'again', ['again'], rules, { hostnames: ['again.example.com'] }),
    );
    const found = await ask(mesh, { gateway: 'again', name: 'again.example.com' });
    t.like(JSON.parse(found.body), { backend: 'tls-again', sni: HOST });
  },

  async BackendTLSPolicyGRPCRoute(t, mesh) {
    // Nothing but the route says that it is gRPC.
    const ports = [{ name: 'btls', port: 443, targetPort: 7443 }];
    const services = ['grpc-good', 'grpc-wrong-host', 'grpc-wrong-ca'];
    const [good, ...wrong] = [
      policy('grpc-good', 'grpc-good', trust('backends', 'echo'), { sectionName: 'btls' }),
      policy('grpc-wrong-host', 'grpc-wrong-host', trust('backends', 'other.example.com')),
      policy('grpc-wrong-ca', 'grpc-wrong-ca', trust('authorities', 'echo')),
    ] as const;
    const rules = services.map((name, index) =>
      when([byMethod(['Echo', 'EchoTwo', 'EchoThree'][index] ?? '')], to(name, { port: 443 })),
    );
    const routed = route('GRPCRoute', 'backend-tls', ['same-namespace'], rules);
    await mesh.use(
      ...([t, authorities('backends', mesh.rootsPem)] as const),
      authorities('authorities', CA.rootPem),
      ...services.map((name) => service(name, { selector: { app: 'infra-backend-v1' }, ports })),
      ...[routed, good, ...wrong],
    );
    for (const each of [good, ...wrong])
      await mesh.expectStatus(t, each, ancestorsView, { 'same-namespace': FINE });
    const unavailable = { grpcStatus: 14 };
    const refused = [
      [{ method: 'EchoTwo' }, unavailable],
      [{ method: 'EchoThree' }, unavailable],
    ] as const;
    await expectCalls(t, mesh, [[{ method: 'Echo' }, { by: 'infra-backend-v1' }], ...refused]);
    // Without its policy, gRPC without TLS is what is spoken, and this port speaks none.
    await mesh.remove(good);
    await expectCalls(t, mesh, [[{ method: 'Echo' }, unavailable], ...refused]);
  },

  async GatewayTLSBackendClientCertificate(t, mesh) {
    const object = showing('shown', { name: 'shown' });
    await mesh.use(
      ...([t, authorities('authorities', CA.rootPem)] as const),
      secret('shown', pairOf(CA, 'gateway.example.com')),
      ...tlsBackend('tls-asking', pairOf(CA, HOST)),
      policy('asking', 'tls-asking', trust('authorities')),
      object,
    );
    await mesh.use(t, httpRoute('shown', ['shown', 'same-namespace'], [toTls('tls-asking', '/')]));
    const view = (found: KubernetesObject): View => ({ refs: conditionsOf(found)['ResolvedRefs'] });
    await mesh.expectStatus(t, object, view, { refs: 'True ResolvedRefs' });
    const [[shown] = []] = await mesh.send([{ url: 'http://shown/' }]);
    t.like(JSON.parse(shown?.text ?? ''), { backend: 'tls-asking', authorized: true });
    t.like((await get(mesh, '/')).seen, { authorized: false });
  },

  async GatewayInvalidTLSBackendConfiguration(t, mesh) {
    const view = (found: KubernetesObject): View => ({ refs: conditionsOf(found)['ResolvedRefs'] });
    for (const [ref, reason] of [
      [{ name: 'absent' }, 'InvalidClientCertificateRef'],
      [{ name: 'absent', kind: 'WrongKind' }, 'InvalidClientCertificateRef'],
      [{ name: 'absent', namespace: 'gateway-conformance-web-backend' }, 'RefNotPermitted'],
    ] as const) {
      const object = showing('not-shown', ref);
      t.teardown(() => mesh.remove(object));
      await mesh.apply(object);
      await mesh.expectStatus(t, object, view, { refs: `False ${reason}` });
    }
  },
};

function showing(name: string, ref: object): Manifest {
  return gateway(name, [{ name: 'http' }], {
    spec: { tls: { backend: { clientCertificateRef: { group: '', kind: 'Secret', ...ref } } } },
  });
}

async function expectInvalid(
  mesh: GatewayMesh,
  t: Parameters<Runs<Names>['BackendTLSPolicy']>[0],
  validation: object,
  reason: string,
): Promise<void> {
  const object = policy('invalid', 'infra-backend-v2', validation);
  const routed = httpRoute('invalid-tls', ['same-namespace'], [to('infra-backend-v2')]);
  await mesh.use(t, routed, object);
  await mesh.expectStatus(t, object, ancestorsView, {
    'same-namespace': {
      ...{ Accepted: 'False NoValidCACertificate', ResolvedRefs: `False ${reason}` },
    },
  });
  // The backend speaks HTTP, and must not get it.
  t.is((await get(mesh, '/')).status, 503);
}
