import test from 'ava';
import { Snapshot } from '../../istiod-lite/snapshot.ts';
import { trackedPicture } from '../../istiod-lite/tracked-picture.ts';
import { readObjects } from '../../mesh/kubernetes/read.ts';
import type { KubernetesObject } from '../../mesh/kubernetes/resources.ts';
import { denyYaml, podYaml, serviceYaml } from './support/control-plane.ts';

function objects(text: string): KubernetesObject[] {
  return readObjects(text, 'a.yaml').objects.flatMap(({ object }) => object ?? []);
}

test('a Snapshot finds objects by kind, namespace, name, host, account and reference', (t) => {
  const snapshot = new Snapshot();
  snapshot.apply({
    upserts: objects(
      `${podYaml('web-1', { ip: '10.1.0.1' })}${serviceYaml('web', '10.96.0.1')}
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: s, namespace: shop }
addressType: IPv4
endpoints: [{ addresses: [10.1.0.1], targetRef: { kind: Pod, name: web-1 } }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: e, namespace: zoo }
spec: { hosts: [a.example.com], resolution: DNS }
`,
    ),
    removals: [],
  });
  t.is(snapshot.get('Pod', 'shop', 'web-1')?.status.podIP, '10.1.0.1');
  t.is(snapshot.get('Pod', 'zoo', 'web-1'), undefined);
  t.deepEqual(
    [...snapshot.list('Service', 'shop')].map(({ ref }) => ref.name),
    ['web'],
  );
  t.deepEqual(
    [...snapshot.all('ServiceEntry')].map(({ ref }) => ref.name),
    ['e'],
  );
  t.deepEqual(
    [...snapshot.slicesOfPod('shop', 'web-1')].map(({ ref }) => ref.name),
    ['s'],
  );
  t.deepEqual(
    [...snapshot.entriesOfHost('a.example.com')].map(({ ref }) => ref.name),
    ['e'],
  );
  t.deepEqual(
    [...snapshot.podsOfAccount('node-a', 'shop', 'web')].map(({ ref }) => ref.name),
    ['web-1'],
  );
  t.deepEqual([...snapshot.podsOfAccount('node-b', 'shop', 'web')], []);
});

test('a Snapshot counts a revision for each change set that changes something', (t) => {
  const snapshot = new Snapshot(41);
  const [pod] = objects(podYaml('web-1', { ip: '10.1.0.1' }));
  if (pod === undefined) return t.fail();
  t.is(snapshot.apply({ upserts: [pod], removals: [] })?.revision, 42);
  t.is(snapshot.apply({ upserts: [pod], removals: [] }), undefined);
  t.is(snapshot.apply({ upserts: [], removals: [pod.key] })?.revision, 43);
  t.is(snapshot.size, 0);
  t.deepEqual([...snapshot.all('Pod')], []);
});

test('a changed object changes the facts that were asked for, and no others', (t) => {
  const snapshot = new Snapshot();
  const asked = new Set<string>();
  const picture = trackedPicture(snapshot, asked);
  picture.get('Service', 'shop', 'web');
  picture.list('Pod', 'shop');
  picture.selectingPolicies('shop');
  const concerned = (text: string): boolean => {
    const change = snapshot.apply({ upserts: objects(text), removals: [] });
    return !asked.isDisjointFrom(change?.facts ?? new Set());
  };
  t.true(concerned(podYaml('web-1', { ip: '10.1.0.1' })));
  t.true(concerned(serviceYaml('web', '10.96.0.1')));
  t.false(concerned(serviceYaml('api', '10.96.0.2')));
  t.false(concerned(denyYaml('no-selector', 'x')));
  t.true(
    concerned(
      denyYaml('selector', 'x').replace('action', 'selector: { matchLabels: { a: b } }, action'),
    ),
  );
});
