import test from 'ava';
import { parseIpAddress, socketAddress } from '../../base/address.ts';
import { OWN_PORTS } from '../../mesh/model/ports.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import type { Workload } from '../../mesh/model/workload.ts';
import { ProxyState } from '../../mesh/proxy/state/store.ts';
import { explainInbound, explainOutbound } from '../../ztunnel/explain.ts';
import { makeMatch, makePolicy, makeRule, text } from '../support/policies.ts';
import { makeService, makeWorkload, podUid } from '../support/workloads.ts';

const WEB = 'shop/web.shop.svc.cluster.local';
const client = makeWorkload({ name: 'client', ips: ['10.0.0.1'] });
const web = makeWorkload({
  name: 'web',
  ips: ['10.0.0.2'],
  node: 'node-b',
  serves: { [WEB]: ['80:8080'] },
});

function mesh(...workloads: readonly Workload[]): ProxyState {
  const state = new ProxyState();
  state.setService(makeService({ name: 'web', vips: ['10.96.0.1'] }));
  for (const workload of [client, web, ...workloads]) state.setWorkload(workload);
  return state;
}

test('explainOutbound() tells each step and the next hop', (t) => {
  const found = explainOutbound(mesh(), client, socketAddress('10.96.0.1', 80), {
    network: '',
    ownPorts: OWN_PORTS,
  });
  t.deepEqual(found, {
    direction: 'outbound',
    source: {
      workload: podUid('client'),
      ip: '10.0.0.1',
      identity: 'spiffe://cluster.local/ns/shop/sa/client',
    },
    destination: '10.96.0.1:80',
    steps: [
      { step: 'service addressed', found: `${WEB} at 10.96.0.1` },
      { step: 'waypoint of the service', found: 'none' },
      { step: `endpoint of ${WEB}`, found: `${podUid('web')} port 8080, of 1 equally near` },
      { step: 'waypoint of the workload', found: 'none' },
    ],
    outcome: {
      kind: 'hbone',
      reason: 'HBONE to 10.0.0.2:15008 (direct)',
      connectTo: '10.0.0.2:15008',
      authority: '10.0.0.2:8080',
      peers: ['spiffe://cluster.local/ns/shop/sa/web'],
      via: 'direct',
      workload: podUid('web'),
      node: 'node-b',
      service: WEB,
    },
  } as unknown);
});

test('explainOutbound() gives the reason of a refusal, and survives JSON', (t) => {
  const state = mesh();
  state.deleteWorkload(podUid('web'));
  const found = explainOutbound(state, client, socketAddress('10.96.0.1', 80), {
    network: '',
    ownPorts: OWN_PORTS,
  });
  t.is(found.outcome.kind, 'reject');
  t.regex(found.outcome.reason, /no healthy upstream: web\S* has no endpoints/);
  t.deepEqual(JSON.parse(JSON.stringify(found)), found as unknown);
});

const question = {
  workload: web,
  localIp: parseIpAddress('10.0.0.2'),
  peerIp: parseIpAddress('10.0.0.1'),
  peerIdentity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client'),
  target: { authority: '10.0.0.2:8080' },
  network: '',
  ownPorts: OWN_PORTS,
};

function policed(): ProxyState {
  const state = mesh();
  const scope = 'NAMESPACE';
  const apiOnPort = makeRule([
    makeMatch({ principals: [text('cluster.local/ns/shop/sa/api')], destinationPorts: [8080] }),
  ]);
  const nobody = makeRule([makeMatch({ namespaces: [text('bank')], destinationPorts: [1] })]);
  state.setPolicy(makePolicy({ name: 'a', namespace: 'shop', scope, rules: [nobody, apiOnPort] }));
  const port9090 = makeRule([makeMatch({ destinationPorts: [9090] })]);
  state.setPolicy(
    makePolicy({ name: 'd', namespace: 'shop', scope, action: 'DENY', rules: [port9090] }),
  );
  return state;
}

test('explainInbound() of a refusal names the rule that comes closest to allowing it', (t) => {
  const found = explainInbound(policed(), question);
  t.deepEqual(found.outcome, {
    kind: 'refuse',
    status: 401,
    reason: 'allow policies exist, but none allowed',
  });
  t.deepEqual(found.policies, [
    { policy: 'shop/a', scope: 'NAMESPACE', action: 'ALLOW', dryRun: false },
    { policy: 'shop/d', scope: 'NAMESPACE', action: 'DENY', dryRun: false },
  ]);
  t.deepEqual(found.nearestAllow, {
    policy: 'shop/a',
    rule: 1,
    unmet: [
      'source principal must be one of cluster.local/ns/shop/sa/api, found cluster.local/ns/shop/sa/client',
    ],
  } as unknown);
});

test('explainInbound() names the policy and rule that denied or allowed', (t) => {
  const denied = explainInbound(policed(), { ...question, target: { authority: '10.0.0.2:9090' } });
  t.like(denied.outcome, { kind: 'refuse', status: 401, policy: 'shop/d', rule: 0 });
  t.like(denied.policies, [{ policy: 'shop/a' }, { policy: 'shop/d', matchedRule: 0 }]);
  const peerIdentity = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/api');
  const allowed = explainInbound(policed(), { ...question, peerIdentity });
  t.like(allowed.outcome, { kind: 'admit', connectTo: '10.0.0.2:8080', policy: 'shop/a', rule: 1 });
  t.is(allowed.nearestAllow, undefined);
});

test('explainInbound() of plaintext has no status, and no identity', (t) => {
  const { peerIdentity: _none, ...rest } = question;
  const target = { destination: socketAddress('10.0.0.2', 8080) };
  const found = explainInbound(policed(), { ...rest, target });
  t.true(found.plaintext);
  t.is(found.target, '10.0.0.2:8080');
  t.is(found.outcome.kind, 'refuse');
  t.is(found.outcome.status, undefined);
  t.regex(found.nearestAllow?.unmet.join() ?? '', /no identity \(plaintext\)/);
});

test('explainInbound() says what is being waited for', (t) => {
  const workload = makeWorkload({ name: 'web', ips: ['10.0.0.2'], policies: ['shop/late'] });
  const found = explainInbound(mesh(workload), { ...question, workload });
  t.deepEqual(found.outcome, {
    kind: 'wait',
    reason: 'policies that the workload names have not arrived: shop/late',
  });
});
