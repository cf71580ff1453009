import test from 'ava';
import fc from 'fast-check';
import { parseIpAddress } from '../../../../base/address.ts';
import { policyKey } from '../../../../mesh/model/authorization.ts';
import { selectEndpoint } from '../../../../mesh/model/endpoint.ts';
import type { Workload } from '../../../../mesh/model/workload.ts';
import { ProxyState } from '../../../../mesh/proxy/state/store.ts';
import { cidrs, connectionOf, makeMatch, makePolicy, makeRule } from '../../../support/policies.ts';
import {
  keyOf,
  makeService,
  makeWorkload,
  podUid,
  type WorkloadFields,
} from '../../../support/workloads.ts';

const WEB = 'shop/web.shop.svc.cluster.local';
const ip = parseIpAddress;

function stateOf(...workloads: readonly WorkloadFields[]): ProxyState {
  const state = new ProxyState();
  for (const workload of workloads) state.setWorkload(makeWorkload(workload));
  return state;
}

test('workloadAt() finds a workload by each address on its own network only', (t) => {
  const state = stateOf({ name: 'a', ips: ['10.0.0.1', 'fd00::1'], network: 'n1' });
  t.is(state.workloadAt('n1', ip('10.0.0.1'))?.name, 'a');
  t.is(state.workloadAt('n1', ip('fd00::1'))?.name, 'a');
  t.is(state.workloadAt('n2', ip('10.0.0.1')), undefined);
});

test('workloadAt() never answers with a host-network workload', (t) => {
  const state = stateOf({ name: 'agent', ips: ['192.0.2.1'], hostNetwork: true });
  t.is(state.workloadAt('', ip('192.0.2.1')), undefined);
});

test('of workloads on one address a pod wins, then HBONE, then the latest', (t) => {
  const ips = ['10.0.0.1'];
  const entry = { uid: 'Kubernetes/x/WorkloadEntry/shop/vm' as Workload['uid'] };
  const state = stateOf(
    { name: 'plain', ips, tunnelProtocol: 'NONE' },
    { name: 'vm', ips, ...entry },
  );
  t.is(state.workloadAt('', ip('10.0.0.1'))?.name, 'plain');
  state.setWorkload(makeWorkload({ name: 'old', ips }));
  t.is(state.workloadAt('', ip('10.0.0.1'))?.name, 'old');
  state.setWorkload(makeWorkload({ name: 'new', ips }));
  t.is(state.workloadAt('', ip('10.0.0.1'))?.name, 'new');
  state.setWorkload(makeWorkload({ name: 'old', ips, canonicalRevision: 'v2' }));
  t.is(state.workloadAt('', ip('10.0.0.1'))?.name, 'new', 'a push of the old one changes no turn');
  for (const name of ['new', 'old', 'plain']) t.true(state.deleteWorkload(podUid(name)));
  t.is(state.workloadAt('', ip('10.0.0.1'))?.name, 'vm');
});

test('localWorkload() finds pods of its node by name, namespace and account', (t) => {
  const state = new ProxyState('node-a');
  state.setWorkload(makeWorkload({ name: 'here' }));
  state.setWorkload(makeWorkload({ name: 'there', node: 'node-b' }));
  const pod = (
    name: string,
    serviceAccount = name,
  ): { name: string; namespace: string; serviceAccount: string } => ({
    name,
    namespace: 'shop',
    serviceAccount,
  });
  t.is(state.localWorkload(pod('here'))?.name, 'here');
  t.is(state.localWorkload(pod('here', 'other-account')), undefined);
  t.is(state.localWorkload(pod('there')), undefined);
  state.deleteWorkload(podUid('here'));
  t.is(state.localWorkload(pod('here')), undefined);
});

test('endpoints that arrive before their service serve it once it comes', (t) => {
  const state = stateOf({ name: 'a', ips: ['10.0.0.1'], serves: { [WEB]: ['80:8080'] } });
  t.is(state.service(keyOf(WEB)), undefined);
  state.setService(makeService({ name: 'web', vips: ['10.96.0.1'] }));
  t.deepEqual([...state.endpoints(keyOf(WEB)).keys()], [podUid('a')]);
  t.true(state.deleteService(keyOf(WEB)));
  t.is(state.serviceAt('', ip('10.96.0.1'), 'shop'), undefined);
  t.is(state.endpoints(keyOf(WEB)).size, 1);
});

test('an endpoint comes back as soon as it is healthy again', (t) => {
  const fields = { name: 'a', ips: ['10.0.0.1'], serves: { [WEB]: ['80:8080'] } };
  const state = stateOf(fields);
  const service = makeService({ name: 'web' });
  state.setService(service);
  const choice = (): string =>
    selectEndpoint({
      service,
      key: keyOf(WEB),
      endpoints: state.endpointView(keyOf(WEB)).list,
      uniform: false,
      servicePort: 80,
      source: makeWorkload({ name: 'client' }),
      mode: 'standard',
      tried: new Set(),
      random: () => 0,
    }).kind;
  t.is(choice(), 'endpoint');
  state.setWorkload(makeWorkload({ ...fields, healthy: false }));
  t.is(choice(), 'none');
  state.setService(makeService({ name: 'web', subjectAltNames: ['x'] }));
  state.setWorkload(makeWorkload(fields));
  t.is(choice(), 'endpoint');
});

test('a workload that leaves a service is its endpoint no more', (t) => {
  const state = stateOf({ name: 'a', serves: { [WEB]: ['80:8080'] } });
  state.setWorkload(
    makeWorkload({ name: 'a', serves: { 'shop/other.shop.svc.cluster.local': [] } }),
  );
  t.is(state.endpoints(keyOf(WEB)).size, 0);
  t.is(state.endpoints(keyOf('shop/other.shop.svc.cluster.local')).size, 1);
});

test('serviceAt() prefers the namespace of the client, then the canonical service, then the first', (t) => {
  const state = new ProxyState();
  const add = (name: string, namespace: string, canonical = false, namespaceOnly = false): void => {
    state.setService(
      makeService({ name, namespace, vips: ['10.96.0.1'], canonical, namespaceOnly }),
    );
  };
  add('first', 'one');
  add('second', 'two');
  t.is(state.serviceAt('', ip('10.96.0.1'), 'three')?.name, 'first');
  t.is(state.serviceAt('', ip('10.96.0.1'), 'two')?.name, 'second');
  add('canonical', 'four', true);
  t.is(state.serviceAt('', ip('10.96.0.1'), 'three')?.name, 'canonical');
  add('private', 'five', false, true);
  t.is(state.serviceAt('', ip('10.96.0.1'), 'five')?.name, 'private');
});

test('a service that only its namespace may see is hidden from others', (t) => {
  const state = new ProxyState();
  state.setService(makeService({ name: 'web', vips: ['10.96.0.1'], namespaceOnly: true }));
  t.is(state.serviceAt('', ip('10.96.0.1'), 'shop')?.name, 'web');
  t.is(state.serviceAt('', ip('10.96.0.1'), 'bank'), undefined);
  t.is(state.serviceByHost('web.shop.svc.cluster.local', 'bank'), undefined);
});

test('serviceAt() falls back to networks: own namespace, then the longest prefix', (t) => {
  const state = new ProxyState();
  const add = (name: string, namespace: string, ...vips: readonly string[]): void => {
    state.setService(makeService({ name, namespace, vips }));
  };
  add('exact', 'a', '10.1.2.3');
  add('wide', 'b', '10.1.0.0/16', 'fd00::/16');
  add('narrow', 'c', '10.1.2.0/24');
  add('full', 'd', '10.9.9.9/32');
  const at = (address: string, from: string): string | undefined =>
    state.serviceAt('', ip(address), from)?.name;
  t.is(at('10.1.2.3', 'b'), 'exact');
  t.is(at('10.1.2.4', 'x'), 'narrow');
  t.is(at('10.1.2.4', 'b'), 'wide');
  t.is(at('10.1.3.1', 'x'), 'wide');
  t.is(at('10.2.0.1', 'x'), undefined);
  t.is(at('10.9.9.9', 'x'), 'full');
  t.is(at('fd00:0:1::1', 'x'), 'wide');
  t.true(state.deleteService(keyOf('c/narrow.c.svc.cluster.local')));
  t.is(at('10.1.2.4', 'x'), 'wide');
  t.true(state.deleteService(keyOf('b/wide.b.svc.cluster.local')));
  t.is(at('10.1.2.4', 'x'), undefined);
});

test('authorize() waits for a policy that the workload names, unless it is denied already', (t) => {
  const state = new ProxyState();
  const workload = makeWorkload({ name: 'a', policies: ['shop/late', 'shop/here'] });
  const client = connectionOf('shop/web');
  const late = policyKey('shop', 'late');
  state.setPolicy(
    makePolicy({
      name: 'here',
      namespace: 'shop',
      scope: 'WORKLOAD_SELECTOR',
      rules: [makeRule()],
    }),
  );
  t.deepEqual(state.authorize(workload, client), { kind: 'wait', policies: [late] });
  const rules = [makeRule([makeMatch({ sourceIps: cidrs('10.0.0.1') })])];
  state.setPolicy(makePolicy({ name: 'ban', action: 'DENY', rules }));
  t.is(state.authorize(workload, client).kind, 'deny');
  t.true(state.deletePolicy(policyKey('istio-system', 'ban')));
  state.setPolicy(makePolicy({ name: 'late', namespace: 'shop', scope: 'WORKLOAD_SELECTOR' }));
  t.is(state.authorize(workload, client).kind, 'allow');
  t.is(state.policiesFor(workload).policies.length, 2);
  t.is([...state.policies()].length, 2);
});

test('equal parts of workloads become one object', (t) => {
  const fields = { serves: { [WEB]: ['80:8080'] }, policies: ['shop/p'], network: 'n1' };
  const state = stateOf({ name: 'a', ...fields }, { name: 'b', ...fields });
  const [a, b] = [state.workload(podUid('a')), state.workload(podUid('b'))];
  t.truthy(a?.services);
  t.is(a?.services, b?.services);
  t.is(a?.locality, b?.locality);
  t.is(a?.authorizationPolicies, b?.authorizationPolicies);
});

test('after any changes the indexes answer as a state that was built at once', (t) => {
  const fields = fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd'),
    ips: fc.subarray(['10.0.0.1', '10.0.0.2', 'fd00::1']),
    network: fc.constantFrom('', 'n1'),
    hostNetwork: fc.boolean(),
    healthy: fc.boolean(),
    hostname: fc.constantFrom('', 'db.example.com'),
    serves: fc
      .subarray([WEB, 'shop/x.y'])
      .map((keys) => Object.fromEntries(keys.map((key) => [key, ['80:1']]))),
  });
  const step = fc.record({ fields, remove: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
      const state = new ProxyState();
      const left = new Map<string, WorkloadFields>();
      for (const { fields: one, remove } of steps) {
        if (remove) {
          if (state.deleteWorkload(podUid(one.name)) !== left.delete(one.name)) return false;
        } else {
          state.setWorkload(makeWorkload(one));
          left.set(one.name, one);
        }
      }
      const claims = (network: string, address: string): readonly string[] =>
        [...left.values()]
          .filter((one) => one.network === network && one.hostNetwork === false)
          .filter((one) => one.ips?.includes(address))
          .map((one) => one.name);
      const byAddress = ['', 'n1'].every((network) =>
        ['10.0.0.1', '10.0.0.2', 'fd00::1'].every((address) => {
          const found = state.workloadAt(network, ip(address));
          const claimed = claims(network, address);
          return found === undefined ? claimed.length === 0 : claimed.includes(found.name);
        }),
      );
      const byService = [WEB, 'shop/x.y'].every((key) => {
        const expected = [...left.values()].filter((one) => key in (one.serves ?? {}));
        const found = [...state.endpoints(keyOf(key)).values()];
        const names = (list: readonly { name: string }[]): string =>
          list
            .map(({ name }) => name)
            .sort()
            .join();
        return (
          names(found) === names(expected) &&
          found.every((workload) => workload === state.workload(workload.uid))
        );
      });
      const byHostname = state.workloadByHostname('shop', 'db.example.com');
      const named = [...left.values()].filter((one) => one.hostname !== '');
      return (
        byAddress &&
        byService &&
        (byHostname === undefined) === (named.length === 0) &&
        state.sizes.workloads === left.size
      );
    }),
    { numRuns: 500 },
  );
  t.pass();
});
