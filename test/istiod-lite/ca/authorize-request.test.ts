import test from 'ava';
import type { Caller } from '../../../istiod-lite/ca/authenticate.ts';
import {
  authorizeRequest,
  type KnownPod,
  type PodDirectory,
} from '../../../istiod-lite/ca/authorize-request.ts';
import { parseTrustDomain } from '../../../mesh/model/identity.ts';

const running = (serviceAccount: string, node: string, uid: string): KnownPod => ({
  ...{ uid, serviceAccount, node },
  phase: 'Running',
});

const pods = new Map<string, KnownPod>([
  ['istio-system/ztunnel-a', running('ztunnel', 'node-a', 'uid-a')],
  ['istio-system/ztunnel-b', running('ztunnel', 'node-b', 'uid-b')],
  ['istio-system/ztunnel-c', { ...running('ztunnel', 'node-a', 'uid-c'), phase: 'Failed' }],
  ['istio-system/ztunnel-d', running('ztunnel', '', 'uid-d')],
  ['istio-system/other', running('other', 'node-a', 'uid-e')],
  ['shop/web-1', running('web', 'node-a', 'uid-1')],
  ['shop/cart-1', running('cart', 'node-b', 'uid-2')],
  ['shop/job-1', { ...running('job', 'node-a', 'uid-3'), phase: 'Failed' }],
]);

const directory: PodDirectory = {
  pod: (namespace, name) => pods.get(`${namespace}/${name}`),
  hasPodOn: (node, namespace, serviceAccount) =>
    [...pods].some(
      ([key, pod]) =>
        key.startsWith(`${namespace}/`) &&
        pod.node === node &&
        pod.serviceAccount === serviceAccount &&
        pod.phase !== 'Failed',
    ),
};

const rules = {
  trustDomain: parseTrustDomain('cluster.local'),
  trustedNodeAccounts: new Set(['istio-system/ztunnel']),
};

const ZTUNNEL: Caller = {
  namespace: 'istio-system',
  serviceAccount: 'ztunnel',
  podName: 'ztunnel-a',
  podUid: 'uid-a',
  node: 'node-a',
};
const WEB = 'spiffe://cluster.local/ns/shop/sa/web';

const allowed = test.macro({
  exec(t, caller: Partial<Caller>, impersonated: string | undefined, identity: string) {
    const decision = authorizeRequest({ ...ZTUNNEL, ...caller }, impersonated, directory, rules);
    t.like(decision, { kind: 'allow', identity });
  },
  title: (given = '') => `authorizeRequest() allows ${given}`,
});
const denied = test.macro({
  exec(t, caller: Partial<Caller>, impersonated: string | undefined, reason: RegExp) {
    const decision = authorizeRequest({ ...ZTUNNEL, ...caller }, impersonated, directory, rules);
    t.is(decision.kind, 'deny');
    if (decision.kind !== 'deny') return;
    t.regex(decision.reason, reason);
    t.is(decision.impersonation, impersonated !== undefined);
  },
  title: (given = '') => `authorizeRequest() denies ${given} (T10)`,
});

const OWN = 'spiffe://cluster.local/ns/istio-system/sa/ztunnel';
const UNBOUND = { podName: '', podUid: '', node: '' };
test('a node proxy an account with a pod on its node', allowed, {}, WEB, WEB);
test('a node proxy its own account by impersonation', allowed, {}, OWN, OWN);
test('a caller its own identity', allowed, {}, undefined, OWN);
test('a token that is bound to no pod its own identity', allowed, UNBOUND, undefined, OWN);
test('a token that names no node', allowed, { node: '' }, WEB, WEB);

test(
  'an account that runs only on another node',
  denied,
  {},
  'spiffe://cluster.local/ns/shop/sa/cart',
  /no pod of shop\/cart is on node node-a/,
);
test(
  'an account with no pod at all',
  denied,
  {},
  'spiffe://cluster.local/ns/shop/sa/nobody',
  /no pod of shop\/nobody/,
);
test(
  'an account of the same name in another namespace',
  denied,
  {},
  'spiffe://cluster.local/ns/front/sa/web',
  /no pod of front\/web/,
);
test(
  'an account whose only pod on the node has failed',
  denied,
  {},
  'spiffe://cluster.local/ns/shop/sa/job',
  /no pod of shop\/job/,
);
test(
  'an identity of another trust domain',
  denied,
  {},
  'spiffe://elsewhere.test/ns/shop/sa/web',
  /another trust domain/,
);
for (const identity of [
  '',
  'web',
  'SPIFFE://cluster.local/ns/shop/sa/web',
  'spiffe://cluster.local/ns/shop/sa/web/',
  'spiffe://cluster.local/ns/shop/sa/web?x',
  'spiffe://cluster.local/ns/../sa/web',
  'spiffe://cluster.local/ns/shop/sa/we%62',
  `${WEB}\0.test`,
  `${WEB},URI:spiffe://cluster.local/ns/shop/sa/cart`,
])
  test(JSON.stringify(identity), denied, {}, identity, /is not a SPIFFE id/);
test(
  'a caller that is no node proxy',
  denied,
  { namespace: 'shop', serviceAccount: 'web', podName: 'web-1', podUid: 'uid-1' },
  'spiffe://cluster.local/ns/shop/sa/web',
  /may not ask for the identity of others/,
);
test(
  'impersonation by a token that is bound to no pod',
  denied,
  UNBOUND,
  WEB,
  /not bound to a pod/,
);
test('a pod that is not known', denied, { podName: 'ztunnel-x' }, WEB, /is not known/);
test('a pod of an earlier life', denied, { podUid: 'uid-0' }, WEB, /has the UID uid-a, not uid-0/);
test('its own identity to a pod of an earlier life', denied, { podUid: 'uid-0' }, undefined, /UID/);
test(
  'a pod that runs under another account',
  denied,
  { podName: 'other', podUid: 'uid-e' },
  WEB,
  /runs under other/,
);
test(
  'a pod that has ended',
  denied,
  { podName: 'ztunnel-c', podUid: 'uid-c' },
  WEB,
  /has ended \(Failed\)/,
);
test(
  'a token for another node than its pod is on',
  denied,
  { podName: 'ztunnel-b', podUid: 'uid-b' },
  WEB,
  /is on node node-b, not node-a/,
);
test(
  'a pod that is not scheduled',
  denied,
  { podName: 'ztunnel-d', podUid: 'uid-d', node: '' },
  WEB,
  /is on no node/,
);
