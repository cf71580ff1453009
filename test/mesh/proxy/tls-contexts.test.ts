import test from 'ava';
import type { WorkloadCertificate } from '../../../mesh/model/certificate.ts';
import type { SpiffeId } from '../../../mesh/model/identity.ts';
import { TlsContexts } from '../../../mesh/proxy/tls-contexts.ts';
import { makeTestCa } from '../../support/test-ca.ts';

const WEB = 'spiffe://cluster.local/ns/shop/sa/web' as SpiffeId;
const ca = makeTestCa();

type Rig = Readonly<{
  contexts: TlsContexts;
  fetched: SpiffeId[];
  renewed: SpiffeId[];
  clock: { nowMs: number };
}>;

function open(certificates: readonly WorkloadCertificate[] = [ca.issue(WEB)]): Rig {
  const [fetched, renewed]: [SpiffeId[], SpiffeId[]] = [[], []];
  const clock = { nowMs: Date.now() };
  const contexts = new TlsContexts({
    fetch: (identity) => {
      const certificate = certificates[fetched.push(identity) - 1];
      return certificate === undefined
        ? Promise.reject(new Error('the CA is away'))
        : Promise.resolve(certificate);
    },
    onRenewed: (identity) => renewed.push(identity),
    now: () => clock.nowMs,
  });
  return { contexts, fetched, renewed, clock };
}

test('a certificate is fetched once, and used until it expires', async (t) => {
  const { contexts, fetched, clock } = open();
  using _contexts = contexts;
  t.is(contexts.current(WEB), undefined);
  const context = await contexts.get(WEB);
  t.is(await contexts.get(WEB), context);
  t.is(contexts.current(WEB), context);
  t.is(fetched.length, 1);
  clock.nowMs += 2 * 3_600_000;
  t.is(contexts.current(WEB), undefined);
  await t.throwsAsync(contexts.get(WEB), { message: 'the CA is away' });
});

test('a renewed certificate takes the place of the one before; the same one once more changes nothing', async (t) => {
  const [first, second] = [ca.issue(WEB), ca.issue(WEB)];
  const { contexts, renewed } = open([first]);
  using _contexts = contexts;
  const before = await contexts.get(WEB);
  t.is(contexts.set(first), before);
  t.deepEqual(renewed, []);
  const after = contexts.set(second);
  t.not(after, before);
  t.deepEqual(renewed, [WEB]);
  t.is(contexts.current(WEB), after);
  t.throws(() => before.native.address, { message: /was freed/ });
});

test('a change of roots alone is a change', async (t) => {
  const certificate = ca.issue(WEB);
  const { contexts, renewed } = open([certificate]);
  using _contexts = contexts;
  await contexts.get(WEB);
  contexts.set({ ...certificate, rootsPem: [ca.rootPem, makeTestCa().rootPem] });
  t.deepEqual(renewed, [WEB]);
});

test('a certificate that cannot be used leaves the one before in force', async (t) => {
  const { contexts, renewed } = open();
  using _contexts = contexts;
  const before = await contexts.get(WEB);
  const broken = { ...ca.issue(WEB), privateKeyPem: ca.issue(WEB).privateKeyPem };
  t.throws(() => contexts.set(broken), { code: 'ERR_CERTIFICATE' });
  t.is(contexts.current(WEB), before);
  t.deepEqual(renewed, []);
});

test('what is forgotten is fetched anew', async (t) => {
  const { contexts, fetched } = open([ca.issue(WEB), ca.issue(WEB)]);
  using _contexts = contexts;
  await contexts.get(WEB);
  contexts.forget(WEB);
  contexts.forget(WEB);
  t.is(contexts.current(WEB), undefined);
  await contexts.get(WEB);
  t.is(fetched.length, 2);
});
