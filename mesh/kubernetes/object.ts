import type { Brand } from '../../base/brand.ts';
import {
  dictionary,
  fields,
  integer,
  list,
  bool,
  text,
  type Decoded,
  type JsonObject,
} from './schema.ts';

/** What an object is called: enough to find it. */
export type ObjectReference = Readonly<{
  /** '' for the core group. */
  group: string;
  kind: string;
  /** '' for kinds that live in no namespace. */
  namespace: string;
  name: string;
}>;

/** `<group>/<kind>/<namespace>/<name>`: equal keys are the same object. */
export type ObjectKey = Brand<string, 'ObjectKey'>;

export const metadataSchema = fields(
  {
    name: text(),
    namespace: text(),
    generateName: text(),
    uid: text(),
    labels: dictionary(text()),
    annotations: dictionary(text()),
    creationTimestamp: text(),
    deletionTimestamp: text(),
    generation: integer(0, Number.MAX_SAFE_INTEGER),
    resourceVersion: text(),
    ownerReferences: list(
      fields(
        { apiVersion: text(), kind: text(), name: text(), uid: text(), controller: bool() },
        'ignore',
      ),
    ),
  },
  'warning',
  ['finalizers', 'managedFields', 'selfLink', 'deletionGracePeriodSeconds'],
);

export type ObjectMetadata = Decoded<typeof metadataSchema>;

/** What every object has. `raw` is the document as it was read. */
export type ObjectBase = Readonly<{
  ref: ObjectReference;
  key: ObjectKey;
  apiVersion: string;
  metadata: ObjectMetadata;
  raw: JsonObject;
}>;

/** An object of a kind that the mesh does not read. */
export type OtherObject = ObjectBase & Readonly<{ kind: 'Other' }>;

export function objectKey(ref: ObjectReference): ObjectKey {
  return `${ref.group}/${ref.kind}/${ref.namespace}/${ref.name}` as ObjectKey;
}

/** `Pod shop/web-1`, or `Node node-a`. */
export function formatObject(ref: ObjectReference): string {
  const name = ref.namespace === '' ? ref.name : `${ref.namespace}/${ref.name}`;
  return `${ref.kind} ${name}`;
}

/** The order in which Kubernetes resolves conflicts: the oldest first, then by name. */
export function compareByAge(a: ObjectBase, b: ObjectBase): number {
  const timeA = a.metadata.creationTimestamp;
  const timeB = b.metadata.creationTimestamp;
  // An object without a time has not been seen by an API server yet, so it is the younger one.
  if (timeA !== timeB) {
    if (timeA === '') return 1;
    if (timeB === '') return -1;
    const difference = Date.parse(timeA) - Date.parse(timeB);
    if (difference !== 0 && !Number.isNaN(difference)) return difference;
  }
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}
