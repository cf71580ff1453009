import test from 'ava';
import type { KubernetesObject } from '../../../deploy/sandbox/api.ts';
import { AddressPool, nodeAddresses } from '../../../deploy/sandbox/addresses.ts';
import { parseDeployment, planRollout } from '../../../deploy/sandbox/deployments.ts';
import { buildZone } from '../../../deploy/sandbox/dns-zone.ts';
import { parseDocuments } from '../../../deploy/sandbox/documents.ts';
import { slicesOf } from '../../../deploy/sandbox/endpoint-slices.ts';
import { expandVariables } from '../../../deploy/sandbox/environment.ts';
import { containerCommand, withoutTag } from '../../../deploy/sandbox/images.ts';
import { parsePodSpec } from '../../../deploy/sandbox/pod-spec.ts';
import { parseSelectorText } from '../../../deploy/sandbox/selector.ts';
import { formatServiceRules, plainServices } from '../../../deploy/sandbox/service-rules.ts';
import { parseCidr } from '../../../base/address.ts';

const parse = (text: string): KubernetesObject[] =>
  parseDocuments({ documents: [{ source: 'x.yaml', text }] });

function pod(name: string, ip: string, ready: boolean, port = 8080): KubernetesObject {
  const status = ready ? 'True' : 'False';
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: 'shop', uid: name, labels: { app: 'web' } },
    spec: {
      nodeName: 'node-1',
      containers: [{ name: 'c', ports: [{ name: 'http', containerPort: port }] }],
    },
    status: { phase: 'Running', podIPs: [{ ip }], conditions: [{ type: 'Ready', status }] },
  };
}

const service: KubernetesObject = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace: 'shop', uid: 's' },
  spec: {
    ...{ clusterIP: '10.96.0.100', clusterIPs: ['10.96.0.100'], ipFamilies: ['IPv4'] },
    selector: { app: 'web' },
    ports: [{ name: 'http', port: 80, targetPort: 'http' }],
  },
};

test('slices name every pod and say which are ready; plain rules use the ready ones alone', (t) => {
  const slices = slicesOf(service, [pod('a', '10.244.16.2', true), pod('b', '10.244.16.3', false)]);
  t.is(slices.length, 1);
  t.deepEqual(plainServices([service], slices), [
    {
      ...{ vip: '10.96.0.100', protocol: 'tcp', port: 80, sameNodeOnly: false },
      backends: [{ ip: '10.244.16.2', port: 8080, node: 'node-1' }],
    },
  ]);
});

test('pods that name different ports are in different slices', (t) => {
  const slices = slicesOf(service, [
    pod('a', '10.244.16.2', true, 8080),
    pod('b', '10.244.16.3', true, 9090),
  ]);
  t.deepEqual(
    slices.map((slice) => slice.metadata.name),
    ['web-v4', 'web-v4-1'],
  );
  const [plain] = plainServices([service], slices);
  t.deepEqual(plain?.backends.map(({ port }) => port).sort(), [8080, 9090]);
});

test('a service without backend has no rule but the refusal', (t) => {
  const rules = formatServiceRules(plainServices([service], slicesOf(service, [])), 'node-1');
  t.notRegex(rules, /dnat/);
  t.regex(rules, /ip daddr 10\.96\.0\.0\/16 meta l4proto tcp reject with tcp reset/);
});

test('a rollout never has fewer ready pods than wanted, and one more than wanted at most', (t) => {
  const [deployment] = parse(`
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  replicas: 2
  selector: { matchLabels: { app: web } }
  template: { metadata: { labels: { app: web } }, spec: { containers: [{ name: c, command: [x] }] } }
`);
  if (deployment === undefined) throw new Error('no deployment');
  const spec = parseDeployment(deployment);
  const old = [pod('o1', '1.1.1.1', true), pod('o2', '1.1.1.2', true)];
  t.deepEqual(planRollout(spec, [], old), { create: 1, remove: [] });
  const fresh = pod('n1', '1.1.1.3', false);
  t.deepEqual(planRollout(spec, [fresh], old), { create: 0, remove: [] });
  const ready = pod('n1', '1.1.1.3', true);
  t.deepEqual(planRollout(spec, [ready], old), { create: 0, remove: [old[0]] });
  t.deepEqual(planRollout(spec, [ready], old.slice(1)), { create: 1, remove: [] });
  t.deepEqual(planRollout({ ...spec, replicas: 0 }, [], old).remove.length, 2);
});

test('names are those of cluster DNS: VIPs, endpoints of headless services, and each of these', (t) => {
  const headless = {
    ...service,
    metadata: { ...service.metadata, name: 'db' },
    spec: { ...(service['spec'] as object), clusterIP: 'None', clusterIPs: ['None'] },
  };
  const slices = slicesOf(headless, [
    pod('a', '10.244.16.2', true),
    pod('b', '10.244.16.3', false),
  ]);
  t.deepEqual(Object.fromEntries(buildZone([service, headless], slices)) as unknown, {
    'web.shop.svc.cluster.local': ['10.96.0.100'],
    'db.shop.svc.cluster.local': ['10.244.16.2'],
    '10-244-16-2.db.shop.svc.cluster.local': ['10.244.16.2'],
  });
});

test('a document that is no object is refused with its file and line', (t) => {
  t.throws(() => parse('apiVersion: v1\nkind: Pod\nmetadata: {}'), {
    message: /x\.yaml:1: found metadata\.name/,
  });
  t.throws(() => parse('a: b\n---\nkind: [\n'), { message: /x\.yaml:/ });
  t.throws(() => parse('apiVersion: apps/v1\nkind: StatefulSet\nmetadata: { name: a }'), {
    message: /no controller/,
  });
  t.throws(() => parse('apiVersion: v1\nkind: Pod\nmetadata: { name: ../../etc/passwd }'), {
    code: 'ERR_DOCUMENT',
  });
  t.deepEqual(parse('# nothing\n---\n'), []);
});

test('labels keep the keys that JavaScript objects have of their own', (t) => {
  const [object] = parse(
    'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a, labels: { __proto__: x, a: b } }',
  );
  t.deepEqual(Object.entries(object?.metadata.labels ?? {}), [
    ['__proto__', 'x'],
    ['a', 'b'],
  ]);
  t.is(({} as Record<string, unknown>)['x'], undefined);
});

test('expandVariables() fills in what is known and leaves the rest', (t) => {
  const known = new Map([
    ['A', 'one'],
    ['B', '$(A)'],
  ]);
  t.is(expandVariables('$(A) $(B) $(C) $$(A) $', known), 'one $(A) $(C) $(A) $');
});

test('an image is found with and without its tag, and an unknown one says what to do', (t) => {
  t.is(withoutTag('registry:5000/team/echo:1.2@sha256:00'), 'registry:5000/team/echo');
  const { containers } = parsePodSpec({
    containers: [{ name: 'c', image: 'echo:1', args: ['-v'] }],
  });
  const [container] = containers;
  if (container === undefined) throw new Error('no container');
  t.deepEqual(containerCommand(container, new Map([['echo', ['run-echo']]])), ['run-echo', '-v']);
  t.throws(() => containerCommand(container, new Map()), { message: /--image echo:1=COMMAND/ });
});

test('addresses rest as long as possible before another pod has them', (t) => {
  const pool = new AddressPool(parseCidr('10.0.0.0/29'), 2);
  const taken = ['a', 'b', 'c'].map((owner) => pool.take(owner) as string);
  t.deepEqual(taken, ['10.0.0.2', '10.0.0.3', '10.0.0.4']);
  const [first] = nodeAddresses(1, false).podCidrs;
  t.is(first?.prefix, 20);
  for (const owner of ['d', 'e']) pool.take(owner);
  t.throws(() => pool.take('f'), { code: 'ERR_ADDRESSES_USED_UP' });
});

test('parseSelectorText() knows the terms of a command line', (t) => {
  const matches = parseSelectorText('app=web,tier!=db,track,!old');
  t.true(matches({ app: 'web', track: 'x' }));
  t.false(matches({ app: 'web', track: 'x', old: '' }));
  t.false(matches({ app: 'web', track: 'x', tier: 'db' }));
  t.true(parseSelectorText('')(undefined));
});
