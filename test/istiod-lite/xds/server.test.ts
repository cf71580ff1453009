import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE, decodeAddress } from '../../../mesh/xds/codec.ts';
import { denyYaml, podYaml, serviceYaml, SHOP_FILES, startWith } from '../support/control-plane.ts';
import { collectGarbage } from '../../support/memory.ts';
import { TurnMeter } from '../../support/turns.ts';
import { broughtBy, connectZtunnel, type XdsClient, ztunnelNode } from '../support/xds-client.ts';

const WEB = 'shop/web.shop.svc.cluster.local';
const uid = (name: string): string => `Kubernetes//Pod/shop/${name}`;

test('a wildcard client gets everything, then only what changed', async (t) => {
  await using control = await startWith(SHOP_FILES);
  using client = await connectZtunnel(control);
  client.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE });
  const first = await client.next();
  t.deepEqual(broughtBy(first), [uid('web-1'), WEB]);
  t.is(first.typeUrl, ADDRESS_TYPE);
  t.is(first.systemVersionInfo, String(control.running.xds.revision));
  t.deepEqual(
    first.resources.map(({ aliases }) => aliases),
    [[], []],
  );
  client.acknowledge(first);
  client.send({ typeUrl: AUTHORIZATION_TYPE });
  const policies = await client.next();
  t.deepEqual(broughtBy(policies), ['shop/deny']);
  client.acknowledge(policies);

  control.write('web-2.yaml', podYaml('web-2', { ip: '10.1.0.2' }));
  const change = await client.next();
  t.deepEqual(broughtBy(change), [uid('web-2')]);
  const bytes = change.resources[0]?.resource?.value ?? Buffer.alloc(0);
  const record = decodeAddress(bytes);
  t.is(record.kind === 'workload' ? record.workload.name : '', 'web-2');
  client.acknowledge(change);

  control.remove('web-2.yaml');
  const removal = await client.next();
  t.deepEqual(removal.removedResources, [uid('web-2')]);
  t.deepEqual(removal.resources, []);
});

test('a change that changes no resource is not sent', async (t) => {
  await using control = await startWith(SHOP_FILES);
  using client = await connectZtunnel(control);
  client.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE });
  client.acknowledge(await client.next());
  control.write(
    'other.yaml',
    'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: x, namespace: shop }\n',
  );
  await control.running.refresh();
  control.write('web-2.yaml', podYaml('web-2', { ip: '10.1.0.2' }));
  t.deepEqual(broughtBy(await client.next()), [uid('web-2')]);
});

test('a client that comes back gets only what is different, and is told what is gone', async (t) => {
  await using control = await startWith({
    ...SHOP_FILES,
    'more.yaml': podYaml('web-2', { ip: '10.1.0.2' }) + podYaml('web-3', { ip: '10.1.0.3' }),
  });
  const versions = new Map<string, string>();
  {
    using client = await connectZtunnel(control);
    for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE]) {
      client.send({ node: ztunnelNode(), typeUrl });
      for (const { name, version } of (await client.next()).resources) versions.set(name, version);
    }
  }
  // The versions hold over a restart of the control plane too.
  await control.stop();
  control.write('more.yaml', podYaml('web-2', { ip: '10.1.0.2', ready: false }));
  await control.start();
  using client = await connectZtunnel(control);
  const of = (part: (name: string) => boolean): Map<string, string> =>
    new Map([...versions].filter(([name]) => part(name)));
  const isPolicy = (name: string): boolean => name === 'shop/deny';
  client.send({
    ...{ node: ztunnelNode(), typeUrl: ADDRESS_TYPE },
    initialResourceVersions: of((name) => !isPolicy(name)),
  });
  const addresses = await client.next();
  t.deepEqual(broughtBy(addresses), [uid('web-2')]);
  t.deepEqual(addresses.removedResources, [uid('web-3')]);
  client.send({ typeUrl: AUTHORIZATION_TYPE, initialResourceVersions: of(isPolicy) });
  const policies = await client.next();
  t.deepEqual([policies.resources, policies.removedResources], [[], []]);
});

test('an on-demand client gets what it asks for, with its endpoints and the pods of its node', async (t) => {
  await using control = await startWith({
    'web.yaml':
      serviceYaml('web', '10.96.0.1') +
      podYaml('web-1', { ip: '10.1.0.1', node: 'node-b' }) +
      podYaml('near', { ip: '10.1.0.8', labels: 'app: near' }) +
      podYaml('far', { ip: '10.1.0.9', labels: 'app: far', node: 'node-b' }),
  });
  using client = await connectZtunnel(control);
  client.send({
    ...{ node: ztunnelNode(), typeUrl: ADDRESS_TYPE },
    ...{ resourceNamesSubscribe: ['*'], resourceNamesUnsubscribe: ['*'] },
  });
  const first = await client.next();
  t.deepEqual(broughtBy(first), [uid('near')]);
  client.acknowledge(first);

  client.send({ typeUrl: ADDRESS_TYPE, resourceNamesSubscribe: ['/10.96.0.1'] });
  const service = await client.next();
  t.deepEqual(broughtBy(service), [uid('near'), uid('web-1'), WEB].sort());
  const aliases = new Map(service.resources.map((each) => [each.name, each.aliases]));
  t.deepEqual(aliases.get(WEB), ['/10.96.0.1']);
  t.deepEqual(aliases.get(uid('web-1')), ['/10.1.0.1']);

  client.send({ typeUrl: ADDRESS_TYPE, resourceNamesSubscribe: ['/10.9.9.9'] });
  t.deepEqual((await client.next()).removedResources, ['/10.9.9.9']);

  // A new endpoint of a service that it has; the pod that it never asked for stays unknown to it.
  control.write(
    'more.yaml',
    podYaml('web-2', { ip: '10.1.0.2', node: 'node-b' }) +
      podYaml('far-2', { ip: '10.1.0.7', labels: 'app: far', node: 'node-b' }),
  );
  t.deepEqual(broughtBy(await client.next()), [uid('web-2')]);
  // What did not exist when it was asked for.
  control.write(
    'late.yaml',
    podYaml('late', { ip: '10.9.9.9', labels: 'app: late', node: 'node-b' }),
  );
  t.deepEqual(broughtBy(await client.next()), [uid('late')]);
});

test('an on-demand client learns of the service whose network holds the address that it asks for', async (t) => {
  const entry = (name: string, network: string): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name}, namespace: shop }
spec:
  hosts: [${name}.example.com]
  addresses: [${network}]
  ports: [{ number: 443, name: tls, protocol: TLS }]
  resolution: NONE
`;
  await using control = await startWith({ 'ranges.yaml': entry('range', '10.50.0.0/16') });
  using client = await connectZtunnel(control);
  client.send({
    ...{ node: ztunnelNode(), typeUrl: ADDRESS_TYPE },
    ...{ resourceNamesSubscribe: ['*'], resourceNamesUnsubscribe: ['*'] },
  });
  client.acknowledge(await client.next());
  client.send({ typeUrl: ADDRESS_TYPE, resourceNamesSubscribe: ['/10.50.1.2'] });
  const inside = await client.next();
  t.deepEqual(broughtBy(inside), ['shop/range.example.com']);
  t.deepEqual(inside.removedResources, ['/10.50.1.2']); // the address itself names nothing
  client.acknowledge(inside);
  client.send({ typeUrl: ADDRESS_TYPE, resourceNamesSubscribe: ['/10.60.1.2', 'other/10.50.1.2'] });
  const outside = await client.next();
  t.deepEqual(broughtBy(outside), []);
  client.acknowledge(outside);
  control.write('late.yaml', entry('late', '10.60.0.0/16'));
  t.deepEqual(broughtBy(await client.next()), ['shop/late.example.com']);
});

test('changes within 100 ms come in one response, the first after a quiet time at once', async (t) => {
  await using control = await startWith(SHOP_FILES);
  using client = await connectZtunnel(control);
  client.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE });
  client.acknowledge(await client.next());
  const before = control.running.xds.revision;
  control.write('first.yaml', podYaml('first', { ip: '10.1.1.1' }));
  t.deepEqual(broughtBy(await client.next()), [uid('first')]);
  for (let n = 0; n < 20; n++)
    control.write(`n-${n}.yaml`, podYaml(`n-${n}`, { ip: `10.1.2.${n}` }));
  const rest = new Set<string>();
  let responses = 0;
  while (rest.size < 20) {
    for (const name of broughtBy(await client.next())) rest.add(name);
    responses++;
  }
  t.true(responses <= 3, `${responses} responses`);
  t.true(control.running.xds.revision - before <= 4);
});

test('a rejection is remembered and shown, is not sent again, and ends with the next good version', async (t) => {
  await using control = await startWith(SHOP_FILES);
  using client = await connectZtunnel(control);
  client.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE });
  client.acknowledge(await client.next());
  client.send({ typeUrl: AUTHORIZATION_TYPE });
  client.reject(await client.next(), 'bad policy shop/deny: no idea');
  const revision = control.running.xds.revision;
  const result = await control.running.xds.waitFor(revision, 5_000);
  t.false(result.done);
  t.deepEqual(result.laggards, [
    {
      ...{ proxy: ztunnelNode().id, node: 'node-a', acknowledged: revision },
      reason: 'rejected: bad policy shop/deny: no idea',
    },
  ]);
  t.is(client.waiting, 0);
  t.deepEqual(
    control.running.xds
      .proxies()
      .map(({ synced, rejections }) => [synced, [...(rejections[0]?.names ?? [])]]),
    [[false, ['shop/deny']]],
  );
  control.write('policy.yaml', denyYaml('deny', 'other'));
  const better = await client.next();
  t.deepEqual(broughtBy(better), ['shop/deny']);
  client.acknowledge(better);
  t.true((await control.running.xds.waitFor(control.running.xds.revision, 5_000)).done);
});

test('waitFor() names those who have not acknowledged, and counts those who need nothing of a revision', async (t) => {
  await using control = await startWith(SHOP_FILES);
  const connect = async (name: string, node: string): Promise<XdsClient> => {
    const client = await connectZtunnel(control);
    for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE]) {
      client.send({ node: ztunnelNode(name, node), typeUrl });
      client.acknowledge(await client.next());
    }
    return client;
  };
  using quick = await connect('ztunnel-a', 'node-a');
  using slow = await connect('ztunnel-b', 'node-b');
  t.true((await control.running.xds.waitFor(control.running.xds.revision, 5_000)).done);

  control.write('web-2.yaml', podYaml('web-2', { ip: '10.1.0.2' }));
  quick.acknowledge(await quick.next());
  const late = await slow.next();
  const revision = control.running.xds.revision;
  const waiting = await control.running.xds.waitFor(revision, 1_000);
  t.false(waiting.done);
  t.deepEqual(
    waiting.laggards.map(({ proxy, reason }) => [proxy, reason]),
    [[ztunnelNode('ztunnel-b').id, 'not acknowledged']],
  );
  const waited = control.running.xds.waitFor(revision, 5_000);
  slow.acknowledge(late);
  t.true((await waited).done);

  // Nothing of this revision is for proxies: they have it.
  control.write('x.yaml', 'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: x }\n');
  const next = await control.running.refresh();
  t.true(next > revision);
  t.true((await control.running.xds.waitFor(next, 5_000)).done);
  t.false((await control.running.xds.waitFor(next + 1, 50)).done);
});

test('new policies come before the workloads that name them, and go after', async (t) => {
  await using control = await startWith({ 'web.yaml': podYaml('web-1', { ip: '10.1.0.1' }) });
  using client = await connectZtunnel(control);
  for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE]) {
    client.send({ node: ztunnelNode(), typeUrl });
    client.acknowledge(await client.next());
  }
  control.write(
    'select.yaml',
    denyYaml('select', 'evil').replace(
      'action: DENY',
      'selector: { matchLabels: { app: web } }, action: DENY',
    ),
  );
  const order = [await client.next(), await client.next()];
  t.deepEqual(
    order.map(({ typeUrl }) => typeUrl),
    [AUTHORIZATION_TYPE, ADDRESS_TYPE],
  );
  control.remove('select.yaml');
  const back = [await client.next(), await client.next()];
  t.deepEqual(
    back.map(({ typeUrl }) => typeUrl),
    [ADDRESS_TYPE, AUTHORIZATION_TYPE],
  );
});

test('a policy that takes the place of another comes before, and the other goes after, the workloads', async (t) => {
  const selecting = (name: string): string =>
    denyYaml(name, 'evil').replace(
      'action: DENY',
      'selector: { matchLabels: { app: web } }, action: DENY',
    );
  await using control = await startWith({
    'web.yaml': podYaml('web-1', { ip: '10.1.0.1' }),
    'policy.yaml': selecting('old'),
  });
  using client = await connectZtunnel(control);
  for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE]) {
    client.send({ node: ztunnelNode(), typeUrl });
    client.acknowledge(await client.next());
  }
  control.write('policy.yaml', selecting('new'));
  await control.running.refresh();
  const seen: string[] = [];
  for (let removed = 0; removed === 0; ) {
    const response = await client.next();
    client.acknowledge(response);
    seen.push(...broughtBy(response), ...response.removedResources.map((name) => `-${name}`));
    removed = response.removedResources.length;
  }
  t.is(seen[0], 'shop/new');
  t.is(seen.at(-1), '-shop/old');
  t.true(seen.slice(1, -1).every((name) => name === 'Kubernetes//Pod/shop/web-1'));
  t.true((await control.running.xds.waitFor(control.running.xds.revision, 5000)).done);
});

test('what is deleted or no longer in the mesh is told to everyone who has it', async (t) => {
  const captured = podYaml('web-1', { ip: '10.1.0.1' }).replace(
    'labels: { app: web }',
    'labels: { app: web }, annotations: { ambient.istio.io/redirection: enabled }',
  );
  await using control = await startWith({
    'web.yaml': captured,
    'service.yaml': serviceYaml('web', '10.96.0.1'),
    'deny.yaml': denyYaml('deny', 'evil'),
  });
  using client = await connectZtunnel(control);
  for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE]) {
    client.send({ node: ztunnelNode(), typeUrl });
    client.acknowledge(await client.next());
  }
  // The node agent takes its annotation away when the label of the namespace goes.
  control.write('web.yaml', podYaml('web-1', { ip: '10.1.0.1' }));
  t.deepEqual(broughtBy(await client.next()), ['Kubernetes//Pod/shop/web-1']);
  control.remove('web.yaml');
  t.deepEqual((await client.next()).removedResources, ['Kubernetes//Pod/shop/web-1']);
  control.remove('service.yaml');
  t.deepEqual((await client.next()).removedResources, ['shop/web.shop.svc.cluster.local']);
  control.remove('deny.yaml');
  t.like(await client.next(), { typeUrl: AUTHORIZATION_TYPE, removedResources: ['shop/deny'] });
});

test('for a proxy that does not read, changes are joined and not queued', async (t) => {
  const pods = (ready: boolean): string =>
    Array.from({ length: 300 }, (_, n) =>
      podYaml(`${'x'.repeat(200)}-${n}`, { ip: `10.1.${n >> 8}.${n & 255}`, ready }),
    ).join('');
  await using control = await startWith({ 'pods.yaml': pods(true) });
  using client = await connectZtunnel(control);
  for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE]) {
    client.send({ node: ztunnelNode(), typeUrl });
    client.acknowledge(await client.next());
  }
  client.pause();
  const rounds = 60;
  for (let round = 1; round <= rounds; round++) {
    control.write('pods.yaml', pods(round % 2 === 0));
    await control.running.refresh(); // some 200 KB each
  }
  t.true(control.running.xds.revision >= rounds);
  client.resume();
  let responses = 0;
  const answer = async (): Promise<void> => {
    for (;;) {
      client.acknowledge(await client.next());
      responses++;
    }
  };
  answer().catch(() => undefined); // ends with the stream
  const { xds } = control.running;
  t.true((await xds.waitFor(xds.revision, 10_000)).done);
  // What lies in the buffers of sockets and sessions on the way is what it was before the joining began.
  t.true(responses <= rounds / 2, `${responses} responses for ${rounds} changes`);
});

test('a first state of 10,000 workloads, and a change of all of them, leave the thread to others', async (t) => {
  const files = new Map<string, string>();
  for (let from = 0; from < 10_000; from += 200)
    files.set(
      `${from}.yaml`,
      Array.from({ length: 200 }, (_, n) =>
        podYaml(`pod-${from + n}`, { ip: `10.1.${(from + n) >> 8}.${n & 255}` }),
      ).join(''),
    );
  await using control = await startWith(Object.fromEntries(files));
  using client = await connectZtunnel(control);
  await collectGarbage(); // what tests before have left is not this one's
  using turns = new TurnMeter();
  client.pause(); // it is in the same thread: reading would be its turn
  client.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE });
  while (control.running.xds.proxies()[0]?.subscriptions.length !== 1) await delay(2);
  await delay(2);
  const first = turns.longestMs;
  control.write(
    'namespace.yaml',
    'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { istio.io/dataplane-mode: ambient } }\n',
  );
  await control.running.refresh();
  // 50 ms is what is aimed at, some 7 % of it all, and how fast a machine is does not matter; a collection of garbage may come into it.
  const [longest, all] = [Math.round(turns.longestMs), Math.round(turns.allMs)];
  t.log(`longest turn, own time: ${first.toFixed(0)} ms, then ${longest} ms of ${all}`);
  t.true(longest < all / 4, `${longest} ms of ${all}`);
});

test('the metrics count proxies, responses and rejections', async (t) => {
  await using control = await startWith(SHOP_FILES);
  using client = await connectZtunnel(control);
  client.send({ node: ztunnelNode(), typeUrl: ADDRESS_TYPE });
  client.reject(await client.next(), 'no');
  while (control.running.xds.proxies()[0]?.rejections.length !== 1)
    await new Promise((resolve) => setImmediate(resolve));
  const values = new Map(
    control.running.metrics
      .snapshot()
      .flatMap((family) =>
        family.kind === 'histogram'
          ? []
          : family.series.map(
              ({ labels, value }) => [`${family.name} ${labels.join()}`, value] as const,
            ),
      ),
  );
  t.is(values.get('pilot_xds '), 1);
  t.is(values.get('pilot_xds_pushes wds'), 1);
  t.is(values.get('pilot_total_xds_rejects wds'), 1);
});
