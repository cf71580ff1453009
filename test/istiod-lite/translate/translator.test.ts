import { readdirSync, readFileSync } from 'node:fs';
import test from 'ava';
import fc from 'fast-check';
import { Snapshot } from '../../../istiod-lite/snapshot.ts';
import { FileSet } from '../../../istiod-lite/sources/file-set.ts';
import { DEFAULT_SETTINGS } from '../../../istiod-lite/check.ts';
import type { MeshResource } from '../../../istiod-lite/translate/mesh-resource.ts';
import { Translator } from '../../../istiod-lite/translate/translator.ts';
import { VipAllocator } from '../../../istiod-lite/translate/vips.ts';
import { readObjects } from '../../../mesh/kubernetes/read.ts';
import type { KubernetesObject } from '../../../mesh/kubernetes/resources.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../../mesh/xds/codec.ts';
import { SERVICE_ROUTES_TYPE } from '../../../mesh/xds/codec-routes.ts';
import { WAYPOINT_TYPES } from '../../../mesh/xds/waypoint-codecs.ts';

const folder = new URL('../testdata/', import.meta.url);
const TYPES = [ADDRESS_TYPE, AUTHORIZATION_TYPE, ...WAYPOINT_TYPES];

/** All of a resource that one proxy or another sees. */
function seen({ version, labelsVersion, readers = new Set() }: MeshResource): string {
  return [version, labelsVersion, ...[...readers].sort()].join(' ');
}

/** All objects of all golden inputs: a mesh with everything in it. */
const everything: readonly KubernetesObject[] = readdirSync(folder)
  .filter((name) => name.endsWith('.in.yaml'))
  .flatMap((name) => readObjects(readFileSync(new URL(name, folder), 'utf8'), name).objects)
  .flatMap(({ object }) => object ?? []);

/** The same objects with other content, so that there is something to change to. */
const others: readonly KubernetesObject[] = everything.map((object) => ({
  ...object,
  metadata: {
    ...object.metadata,
    labels: new Map([
      ...object.metadata.labels,
      ['istio.io/use-waypoint', 'for-all'],
      ['app', 'web'],
    ]),
    deletionTimestamp: '2026-01-01T00:00:00Z',
  },
}));

class Mesh {
  readonly snapshot = new Snapshot();
  readonly translator = new Translator(DEFAULT_SETTINGS, new VipAllocator());
  readonly known = new Map<string, string>();

  apply(upserts: readonly KubernetesObject[], removals: readonly KubernetesObject[] = []): void {
    const change = this.snapshot.apply({ upserts, removals: removals.map(({ key }) => key) });
    if (change === undefined) return;
    const { changed, changedForWaypoints } = this.translator.apply(this.snapshot, change);
    // What a proxy would know that was told of the changes alone.
    for (const type of TYPES)
      for (const name of [...(changed.get(type) ?? []), ...(changedForWaypoints.get(type) ?? [])]) {
        const resource = this.translator.resources(type)?.get(name);
        if (resource === undefined) this.known.delete(`${type} ${name}`);
        else this.known.set(`${type} ${name}`, seen(resource));
      }
  }

  resources(): Map<string, string> {
    return new Map(
      TYPES.flatMap((type) => [...(this.translator.resources(type)?.values() ?? [])])
        .map((each) => [`${each.typeUrl} ${each.name}`, seen(each)] as const)
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  }
}

const sorted = (map: ReadonlyMap<string, string>): [string, string][] =>
  [...map].sort(([a], [b]) => (a < b ? -1 : 1));

test('the translation after many small changes is that of the whole made at once, and the changes tell all of it', (t) => {
  const step = fc.record({
    upserts: fc.subarray(
      everything.map((_, index) => index),
      { maxLength: 12 },
    ),
    changed: fc.subarray(
      everything.map((_, index) => index),
      { maxLength: 6 },
    ),
    removals: fc.subarray(
      everything.map((_, index) => index),
      { maxLength: 6 },
    ),
  });
  const pick = (
    from: readonly KubernetesObject[],
    indexes: readonly number[],
  ): KubernetesObject[] => indexes.flatMap((index) => from[index] ?? []);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 8 }), (steps) => {
      const grown = new Mesh();
      for (const { upserts, changed, removals } of steps)
        grown.apply(
          [...pick(everything, upserts), ...pick(others, changed)],
          pick(everything, removals),
        );
      const whole = new Mesh();
      whole.apply([...grown.snapshot.objects()]);
      t.deepEqual(sorted(grown.resources()), sorted(whole.resources()));
      t.deepEqual(sorted(grown.known), sorted(grown.resources()));
    }),
    { numRuns: 60 },
  );
});

test('one changed pod among a thousand makes one changed resource', (t) => {
  const pod = (n: number, ready: string): KubernetesObject[] =>
    readObjects(
      `apiVersion: v1\nkind: Pod\nmetadata: { name: p${n}, namespace: shop }\nstatus: { podIP: 10.1.${n >> 8}.${n & 255}, conditions: [{ type: Ready, status: "${ready}" }] }\n`,
      'a.yaml',
    ).objects.flatMap(({ object }) => object ?? []);
  const snapshot = new Snapshot();
  const translator = new Translator(DEFAULT_SETTINGS, new VipAllocator());
  const apply = (upserts: KubernetesObject[]): string[] => {
    const change = snapshot.apply({ upserts, removals: [] });
    if (change === undefined) return [];
    return [...(translator.apply(snapshot, change).changed.get(ADDRESS_TYPE) ?? [])];
  };
  t.is(apply(Array.from({ length: 1000 }, (_, n) => pod(n, 'True')).flat()).length, 1000);
  t.deepEqual(apply(pod(500, 'False')), ['Kubernetes//Pod/shop/p500']);
  t.deepEqual(apply(pod(500, 'False')), []);
});

test('a changed route changes the routes of its own parents alone, and nothing that ztunnels get', (t) => {
  const text = readFileSync(new URL('routes-consumer.in.yaml', folder), 'utf8');
  const apply = (text: string): ReadonlyMap<string, ReadonlySet<string>> => {
    const upserts = readObjects(text, 'a.yaml').objects.flatMap(({ object }) => object ?? []);
    const change = snapshot.apply({ upserts, removals: [] });
    if (change === undefined) throw new Error('nothing changed');
    return translator.apply(snapshot, change).changed;
  };
  const snapshot = new Snapshot();
  const translator = new Translator(DEFAULT_SETTINGS, new VipAllocator());
  apply(text);
  const route = (weight: number): string => `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: another, namespace: shop }
spec:
  parentRefs: [{ group: networking.istio.io, kind: ServiceEntry, name: api }]
  rules: [{ backendRefs: [{ name: web, port: 80, weight: ${weight} }] }]
`;
  for (const weight of [1, 2]) {
    const changed = apply(route(weight));
    t.deepEqual(
      [...changed].filter(([, names]) => names.size > 0),
      [[SERVICE_ROUTES_TYPE, new Set(['shop/api.example.com', 'shop/www.example.com'])]],
    );
  }
});

test('a ServiceEntry has the VIP that its status gives to its host', (t) => {
  const set = new FileSet();
  set.setFile(
    'a.yaml',
    `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: out, namespace: shop }
spec: { hosts: [api.example.com], resolution: DNS, ports: [{ number: 443, name: tls, protocol: TLS }] }
status: { addresses: [{ host: other.example.com, value: 240.240.7.7 }, { host: api.example.com, value: 240.240.8.8 }] }
`,
  );
  t.deepEqual(set.problems(), []);
  const snapshot = new Snapshot();
  const translator = new Translator(DEFAULT_SETTINGS, new VipAllocator());
  const change = snapshot.apply(set.takeChanges());
  if (change !== undefined) translator.apply(snapshot, change);
  const vips = [...translator.statuses()].flatMap((status) => [...status.vips]);
  t.deepEqual(vips, [['api.example.com', '240.240.8.8']]);
});
