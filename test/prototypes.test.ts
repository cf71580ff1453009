/**
 * C9: keys such as `__proto__` come from outside in every map that is parsed. The prototypes that all objects share are
 * frozen here, so whoever writes to one throws; and what is read must have such keys as its own, or not at all.
 */
import test from 'ava';
import { parseDocuments } from '../deploy/sandbox/documents.ts';
import { parseBaggage } from '../mesh/hbone/headers.ts';
import { readObjects } from '../mesh/kubernetes/read.ts';
import { DeltaDiscoveryRequest } from '../mesh/proto/gen/discovery.ts';
import { decodeMessage } from '../mesh/proto/decode.ts';
import type { ServiceKey } from '../mesh/model/service.ts';
import { decodeAddress, encodeAddress } from '../mesh/xds/codec.ts';
import { readZtunnelConfig } from '../ztunnel/config.ts';
import { makeWorkload } from './support/workloads.ts';

const KEYS = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty'];

for (const shared of [Object, Array, Function, Map, String, Number, Promise])
  Object.freeze(shared.prototype);

/** The keys with a value that would give every object a `polluted`, if it went to where they point. */
const asMapping = `{ ${KEYS.map((key) => `"${key}": "polluted"`).join(', ')} }`;
const asObjects = `{ ${KEYS.map((key) => `"${key}": { "polluted": true }`).join(', ')} }`;

test('C9: annotations of an object have such keys as any other', (t) => {
  const { objects } = readObjects(
    `apiVersion: v1
kind: Pod
metadata: { name: a, annotations: ${asMapping} }
spec: { nodeSelector: ${asMapping}, containers: [] }
`,
    'a.yaml',
  );
  const read = objects[0]?.object;
  t.deepEqual([...(read?.metadata.annotations.keys() ?? [])], KEYS);
  t.is(read?.metadata.annotations.get('__proto__'), 'polluted');
});

test('C9: objects and fields that are named so are read as unknown ones', (t) => {
  for (const key of KEYS) {
    const { objects, problems } = readObjects(
      `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p }
spec: { ${JSON.stringify(key)}: { polluted: true } }
---
{ apiVersion: v1, kind: ${JSON.stringify(key)}, metadata: { name: p } }
`,
      'a.yaml',
    );
    t.true(
      problems.some(({ message }) => message === 'unknown field'),
      key,
    );
    t.is(objects[0]?.object, undefined, key);
    t.not(objects[1]?.object?.kind, key);
  }
});

test('C9: what is applied to a sandbox keeps such keys as its own', (t) => {
  const text = `apiVersion: v1
kind: ConfigMap
metadata: { name: a, labels: ${asMapping} }
data: ${asObjects}
`;
  const [object] = parseDocuments({ documents: [{ source: 'a.yaml', text }] });
  t.deepEqual(Object.keys(object?.metadata.labels ?? {}).sort(), [...KEYS].sort());
  t.is(Reflect.get(object ?? {}, 'polluted'), undefined);
});

test('C9: maps of xDS messages have such keys as any other', (t) => {
  const services = new Map(KEYS.map((key) => [`${key}/${key}` as ServiceKey, []]));
  const workload = { ...makeWorkload({ name: 'web' }), services };
  const read = decodeAddress(encodeAddress({ kind: 'workload', workload }));
  t.deepEqual(
    read.kind === 'workload' ? [...read.workload.services.keys()].sort() : [],
    [...services.keys()].sort(),
  );
  const versions = new Map(KEYS.map((key) => [key, 'v']));
  const request = DeltaDiscoveryRequest.fromPartial({
    initialResourceVersions: versions,
    node: {
      id: 'a',
      cluster: '',
      metadata: JSON.parse('{ "__proto__": { "polluted": true } }') as object,
    },
  });
  const bytes = DeltaDiscoveryRequest.encode(request).finish();
  const decoded = decodeMessage(DeltaDiscoveryRequest, bytes, 'an xDS request', 'downstream');
  t.deepEqual([...decoded.initialResourceVersions], [...versions]);
  t.false(Object.hasOwn(decoded.node?.metadata ?? {}, 'polluted'));
});

test('C9: settings keep such keys as their own, wherever they come from', (t) => {
  const env = {
    NODE_NAME: 'n1',
    ...Object.fromEntries(KEYS.map((key) => [`ISTIO_METAJSON_${key}`, '{"polluted": true}'])),
    PROXY_CONFIG: `proxyMetadata: ${asMapping}`,
  };
  const sources = { readFile: (): string => '', cpus: (): number => 1 };
  const config = readZtunnelConfig(env, sources);
  t.false(Reflect.has(config, 'polluted'));
  t.true([...config.nodeMetadataJson.keys()].includes('__proto__'));
});

test('C9: baggage has no keys but its own', (t) => {
  const baggage = parseBaggage(KEYS.map((key) => `${key}=polluted`).join(','));
  t.deepEqual(Object.values(baggage).join(''), '');
});

test.after('C9: nothing was added to what all objects share', (t) => {
  t.is(Reflect.get({}, 'polluted'), undefined);
  for (const shared of [Object, Array, Function])
    t.deepEqual(Object.keys(shared.prototype), [], shared.name);
});
