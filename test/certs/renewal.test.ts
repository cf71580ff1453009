import test, { type ExecutionContext } from 'ava';
import { CaClient } from '../../certs/ca-client.ts';
import { systemClock } from '../../certs/clock.ts';
import { CertificateManager } from '../../certs/manager.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { startCaServer, testMaterial, type CaServer } from '../support/ca-server.ts';
import { makeTestCa, type TestCa } from '../support/test-ca.ts';
import { makeTokenIssuer } from '../support/tokens.ts';

const WEB = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');
const CART = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/cart');
const issuer = makeTokenIssuer();

type Started = Readonly<{ server: CaServer; manager: CertificateManager; ca: TestCa }>;

/** A manager that asks a real CA over TLS; a back-off of seconds takes milliseconds. */
async function start(t: ExecutionContext, ttlSeconds: number): Promise<Started> {
  const ca = makeTestCa({ intermediates: 1 });
  const server = await startCaServer(t, issuer, ['shop/web', 'shop/cart'], ca);
  const client = new CaClient({ ...server.clientOptions, ttlSeconds });
  const manager = new CertificateManager({
    fetch: (identity, options) => client.fetch(identity, options),
    clock: {
      ...systemClock,
      schedule: (delayMs, task) => systemClock.schedule(Math.min(delayMs, 20), task),
    },
  });
  t.teardown(() => {
    manager[Symbol.dispose]();
    client[Symbol.dispose]();
  });
  return { server, manager, ca };
}

async function nextOf(
  manager: CertificateManager,
  accept: (certificate: WorkloadCertificate) => boolean,
): Promise<WorkloadCertificate> {
  const { promise, resolve } = Promise.withResolvers<WorkloadCertificate>();
  const unsubscribe = manager.subscribe((certificate) => {
    if (accept(certificate)) resolve(certificate);
  });
  try {
    return await promise;
  } finally {
    unsubscribe();
  }
}

test('a certificate of seconds is renewed by itself, with a new key and serial number', async (t) => {
  const { manager } = await start(t, 3);
  manager.hold(WEB);
  const first = await manager.get(WEB);
  const second = await nextOf(manager, ({ serialNumber }) => serialNumber !== first.serialNumber);
  t.not(second.privateKeyPem, first.privateKeyPem);
  t.true(Date.now() < first.notAfterMs);
  t.is(await manager.get(WEB), second);
});

test('a certificate stays while the CA is away, and is renewed when it is back', async (t) => {
  const { manager, server } = await start(t, 6);
  manager.hold(WEB);
  const first = await manager.get(WEB);
  server.stop();
  manager.renew(WEB);
  await t.throwsAsync(manager.get(CART), { code: 'ERR_CERTIFICATE_UNAVAILABLE' });
  t.is(await manager.get(WEB), first);
  t.is(manager.states().get(WEB)?.kind, 'Available');
  const renewed = nextOf(manager, ({ identity }) => identity === WEB);
  await server.restart();
  t.not((await renewed).serialNumber, first.serialNumber);
});

test('a root that is added reaches all identities with the next answer to any of them', async (t) => {
  const { manager, server, ca } = await start(t, 3600);
  manager.hold(WEB);
  manager.hold(CART);
  const [web, cart] = await Promise.all([manager.get(WEB), manager.get(CART)]);
  const next = makeTestCa();
  server.authority.replace(testMaterial(ca, [ca.rootPem, next.rootPem]));
  const spread = nextOf(manager, ({ identity }) => identity === CART);
  manager.renew(WEB);
  const { serialNumber, rootsPem } = await spread;
  t.is(serialNumber, cart.serialNumber);
  t.deepEqual(rootsPem, [ca.rootPem, next.rootPem]);
  t.not((await manager.get(WEB)).serialNumber, web.serialNumber);
});

test('a refusal is what waits are told, and what the admin page shows', async (t) => {
  const { manager } = await start(t, 3600);
  const nobody = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/nobody');
  await t.throwsAsync(manager.get(nobody), { code: 'ERR_CERTIFICATE_UNAVAILABLE' });
  t.like(manager.states().get(nobody), {
    kind: 'Unavailable',
    reason:
      `Cannot get a certificate for ${nobody}: Cannot get certificate from the CA: ` +
      'found UNAUTHENTICATED: request impersonation authentication failure',
  });
});
