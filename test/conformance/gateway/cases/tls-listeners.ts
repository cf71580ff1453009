import type { ExecutionContext } from 'ava';
import { makeTestCa } from '../../../support/test-ca.ts';
import { conditionsOf, listenersView, parentsView, type GatewayMesh } from '../gateway-mesh.ts';
import { INFRA, WEB_BACKEND } from '../namespaces.ts';
import { gateway, grant, httpRoute, to, type Manifest } from '../objects.ts';
import { ask, authorities, CA, pairOf, secret, terminate } from '../tls.ts';
import { FINE, LISTENING } from './attaching.ts';
import type { Runs } from './run.ts';

type Names =
  | 'GatewayInvalidTLSConfiguration'
  | 'GatewaySecretInvalidReferenceGrant'
  | 'GatewaySecretMissingReferenceGrant'
  | 'GatewaySecretReferenceGrantAllInNamespace'
  | 'GatewaySecretReferenceGrantSpecific'
  | 'HTTPRouteHTTPSListener'
  | 'HTTPRouteHTTPSListenerDetectMisdirectedRequests'
  | 'GatewayFrontendClientCertificateValidation'
  | 'GatewayFrontendInvalidDefaultClientCertificateValidation'
  | 'GatewayInvalidFrontendClientCertificateValidation'
  | 'GatewayFrontendClientCertificateValidationInsecureFallback';

const HTTPS = { name: 'https', port: 443, protocol: 'HTTPS' };
const SERVED = { ...LISTENING, kinds: ['HTTPRoute', 'GRPCRoute'], attachedRoutes: 0 };
const blocked = (reason: string) => ({
  ...{ ...SERVED, ResolvedRefs: `False ${reason}`, Programmed: 'False Invalid' },
});
const toV1 = [to('infra-backend-v1')];

/** The status of a Gateway that never becomes ready. */
async function expectListener(
  t: ExecutionContext,
  mesh: GatewayMesh,
  object: Manifest,
  expected: Readonly<Record<string, unknown>>,
): Promise<void> {
  t.teardown(() => mesh.remove(object));
  await mesh.apply(object);
  await mesh.expectStatus(t, object, listenersView, { https: expected });
}

async function withSecret(
  t: ExecutionContext,
  mesh: GatewayMesh,
  granted: Manifest | undefined,
): Promise<Manifest> {
  await mesh.use(t, secret('certificate', pairOf(CA, 'a.example.org'), WEB_BACKEND));
  if (granted !== undefined) await mesh.use(t, granted);
  const ref = { name: 'certificate', namespace: WEB_BACKEND };
  return gateway('secret', [{ ...HTTPS, ...terminate(ref) }]);
}

const GATEWAYS = { kind: 'Gateway', namespace: INFRA };

export const tlsListeners: Runs<Names> = {
  async GatewayInvalidTLSConfiguration(t, mesh) {
    const malformed: Manifest = {
      ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'malformed', namespace: INFRA } },
      data: { 'tls.crt': 'SGVsbG8gd29ybGQK', 'tls.key': 'SGVsbG8gd29ybGQK' },
    };
    const { chain } = pairOf(CA, 'a.example.org');
    const { key } = pairOf(CA, 'a.example.org');
    await mesh.use(t, malformed, secret('mixed', { chain, key }));
    for (const ref of [
      { name: 'absent' },
      { name: 'malformed' },
      { name: 'mixed' },
      { name: 'malformed', group: 'wrong.group.company.io' },
      { name: 'malformed', kind: 'WrongKind' },
    ]) {
      const object = gateway('invalid-tls', [{ ...HTTPS, ...terminate(ref) }]);
      await expectListener(t, mesh, object, blocked('InvalidCertificateRef'));
    }
    const without = gateway('invalid-tls', [{ ...HTTPS, tls: { mode: 'Terminate' } }]);
    await expectListener(t, mesh, without, blocked('InvalidCertificateRef'));
  },

  async GatewaySecretMissingReferenceGrant(t, mesh) {
    const object = await withSecret(t, mesh, undefined);
    await expectListener(t, mesh, object, blocked('RefNotPermitted'));
  },

  async GatewaySecretInvalidReferenceGrant(t, mesh) {
    const other = grant('other', WEB_BACKEND, GATEWAYS, { kind: 'Secret', name: 'another' });
    const object = await withSecret(t, mesh, other);
    await expectListener(t, mesh, object, blocked('RefNotPermitted'));
  },

  async GatewaySecretReferenceGrantAllInNamespace(t, mesh) {
    const all = grant('all', WEB_BACKEND, GATEWAYS, { kind: 'Secret' });
    const object = await withSecret(t, mesh, all);
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, listenersView, { https: SERVED });
  },

  async GatewaySecretReferenceGrantSpecific(t, mesh) {
    const one = grant('one', WEB_BACKEND, GATEWAYS, { kind: 'Secret', name: 'certificate' });
    const object = await withSecret(t, mesh, one);
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, listenersView, { https: SERVED });
    await mesh.remove(one);
    await mesh.expectStatus(t, object, listenersView, { https: blocked('RefNotPermitted') });
  },

  async HTTPRouteHTTPSListener(t, mesh) {
    const other = makeTestCa();
    await mesh.use(
      t,
      secret('example', pairOf(CA, 'example.org', '*.example.org')),
      secret('company', pairOf(other, 'company.com')),
      gateway('https', [{ ...HTTPS, ...terminate('example', 'company') }]),
    );
    const route = httpRoute('https', ['https'], toV1, {
      hostnames: ['example.org', '*.example.org', 'company.com'],
    });
    await mesh.use(t, route);
    await mesh.expectStatus(t, route, parentsView, { https: FINE });
    for (const name of ['example.org', 'a.example.org'])
      for (const [option, version] of [
        ['--http1.1', '1.1'],
        ['--http2', '2'],
      ] as const) {
        const found = await ask(mesh, { gateway: 'https', name, more: [option] });
        t.like(found, { code: 0, status: 200, version }, name);
        t.regex(found.body, /infra-backend-v1/);
        t.regex(found.body, /x-forwarded-proto\W+https/i);
      }
    const company = { gateway: 'https', name: 'company.com', ca: other.rootPem };
    t.like(await ask(mesh, company), { code: 0, status: 200 });
    // 60: the certificate of another name, which is shown where none fits.
    t.is((await ask(mesh, { gateway: 'https', name: 'unknown.com' })).code, 60);
    t.is(
      (await ask(mesh, { gateway: 'https', name: 'example.org', more: ['--tls-max', '1.1'] })).code,
      35,
    );
    // Exchanged: the next handshake shows the other one.
    await mesh.apply(secret('company', pairOf(CA, 'company.com')));
    t.like(await ask(mesh, { ...company, ca: CA.rootPem }), { code: 0, status: 200 });
    t.is((await ask(mesh, company)).code, 60);
  },

  async HTTPRouteHTTPSListenerDetectMisdirectedRequests(t, mesh) {
    const listener = (name: string, hostname: string) => ({
      ...{ name, port: 443, protocol: 'HTTPS', ...terminate('misdirected') },
      ...(hostname !== '' && { hostname }),
    });
    await mesh.use(
      t,
      secret('misdirected', pairOf(CA, 'example.org', '*.example.org', 'second.org', 'other.org')),
      gateway('misdirected', [
        ...[listener('example', 'example.org'), listener('wildcard', '*.example.org')],
        listener('second', 'second.org'),
      ]),
    );
    await mesh.use(t, httpRoute('misdirected', ['misdirected'], toV1));
    const status = async (name: string, host: string): Promise<number> =>
      (await ask(mesh, { gateway: 'misdirected', name, host })).status;
    t.is(await status('example.org', 'example.org'), 200);
    t.is(await status('a.example.org', 'b.example.org'), 200);
    t.is(await status('example.org', 'second.org'), 421);
    t.is(await status('example.org', 'a.example.org'), 421);
    t.is(await status('second.org', 'example.org:443'), 421);
    t.is(await status('example.org', 'nobody.org'), 404);
    // 35: no listener is for the name, and no certificate is shown.
    t.is((await ask(mesh, { gateway: 'misdirected', name: 'other.org' })).code, 35);
  },

  async GatewayFrontendClientCertificateValidation(t, mesh) {
    const other = makeTestCa();
    await mesh.use(
      t,
      secret('frontend', pairOf(CA, 'example.org')),
      authorities('clients', CA.rootPem),
      authorities('others', other.rootPem),
      gateway(
        'frontend',
        [443, 8443].map((port) => ({
          ...{ name: `https-${port}`, port, protocol: 'HTTPS', ...terminate('frontend') },
        })),
        { spec: { tls: { frontend: frontend('clients', { 8443: 'others' }) } } },
      ),
    );
    await mesh.use(t, httpRoute('frontend', ['frontend'], toV1));
    const [ours, theirs] = [pairOf(CA, 'client'), pairOf(other, 'client')];
    const question = { gateway: 'frontend', name: 'example.org' };
    t.like(await ask(mesh, { ...question, certificate: ours }), { code: 0, status: 200 });
    t.like(await ask(mesh, { ...question, port: 8443, certificate: theirs }), { status: 200 });
    for (const refused of [
      question,
      { ...question, certificate: theirs },
      { ...question, port: 8443, certificate: ours },
      { ...question, port: 8443 },
    ])
      t.is((await ask(mesh, refused)).status, 0);
  },

  async GatewayFrontendInvalidDefaultClientCertificateValidation(t, mesh) {
    await mesh.use(t, secret('frontend', pairOf(CA, 'example.org')));
    const object = gateway(
      'frontend-invalid',
      [{ name: 'http' }, { ...HTTPS, ...terminate('frontend') }],
      { spec: { tls: { frontend: frontend('absent') } } },
    );
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, listenersView, {
      http: SERVED,
      https: {
        ...blocked('InvalidCACertificateRef'),
        Accepted: 'False NoValidCACertificate',
      },
    });
    await mesh.use(t, httpRoute('frontend-invalid', ['frontend-invalid'], toV1));
    const [[plain] = []] = await mesh.send([{ url: 'http://frontend-invalid/' }]);
    t.is(plain?.status, 200);
    t.is((await ask(mesh, { gateway: 'frontend-invalid', name: 'example.org' })).status, 0);
  },

  async GatewayInvalidFrontendClientCertificateValidation(t, mesh) {
    await mesh.use(t, secret('frontend', pairOf(CA, 'example.org')));
    const listeners = [{ ...HTTPS, ...terminate('frontend') }];
    const cases = [
      [{ name: 'absent' }, 'InvalidCACertificateRef'],
      [{ name: 'x', kind: 'Bundle' }, 'InvalidCACertificateKind'],
      [{ name: 'x', namespace: WEB_BACKEND }, 'RefNotPermitted'],
    ] as const;
    for (const [ref, reason] of cases) {
      const caCertificateRefs = [{ group: '', kind: 'ConfigMap', ...ref }];
      const spec = { tls: { frontend: { default: { validation: { caCertificateRefs } } } } };
      const object = gateway('frontend-refs', listeners, { spec });
      await expectListener(t, mesh, object, {
        ...blocked(reason),
        Accepted: 'False NoValidCACertificate',
      });
    }
  },

  async GatewayFrontendClientCertificateValidationInsecureFallback(t, mesh) {
    const object = gateway('fallback', [{ ...HTTPS, ...terminate('frontend') }], {
      spec: { tls: { frontend: frontend('clients', {}, 'AllowInsecureFallback') } },
    });
    await mesh.use(
      ...([t, secret('frontend', pairOf(CA, 'example.org'))] as const),
      authorities('clients', CA.rootPem),
      object,
    );
    await mesh.use(t, httpRoute('fallback', ['fallback'], toV1));
    const stranger = pairOf(makeTestCa(), 'client');
    for (const certificate of [undefined, stranger, pairOf(CA, 'client')]) {
      const own = certificate && { certificate };
      const found = await ask(mesh, { gateway: 'fallback', name: 'example.org', ...own });
      t.like(found, { code: 0, status: 200 });
    }
    const view = (...[found]: Parameters<typeof conditionsOf>) => ({
      fallback: conditionsOf(found)['InsecureFrontendValidationMode'],
    });
    await mesh.expectStatus(t, object, view, { fallback: 'True ConfigurationChanged' });
  },
};

function frontend(
  byDefault: string,
  byPort: Readonly<Record<number, string>> = {},
  mode = 'AllowValidOnly',
): object {
  const validation = (name: string): object => ({
    validation: { mode, caCertificateRefs: [{ group: '', kind: 'ConfigMap', name }] },
  });
  return {
    default: validation(byDefault),
    perPort: Object.entries(byPort).map(([port, name]) => ({
      ...{ port: Number(port), tls: validation(name) },
    })),
  };
}
