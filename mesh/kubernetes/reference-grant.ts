import { boundedList, group, kind, namespaceName, objectName } from './gateway-values.ts';
import type { ObjectBase } from './object.ts';
import { fields, optional, required, type Decoded } from './schema.ts';

const SIZE = 16;

export const referenceGrantSchema = fields(
  {
    spec: required(
      fields({
        from: required(
          boundedList(
            fields({
              group: required(group()),
              kind: required(kind()),
              namespace: required(namespaceName()),
            }),
            SIZE,
            { minimum: 1 },
          ),
        ),
        to: required(
          boundedList(
            fields({
              group: required(group()),
              kind: required(kind()),
              name: optional(objectName()),
            }),
            SIZE,
            { minimum: 1 },
          ),
        ),
      }),
    ),
  },
  'error',
  ['apiVersion', 'kind', 'metadata'],
);

/** Lets objects of other namespaces refer to objects of this one. */
export type ReferenceGrant = ObjectBase &
  Readonly<{ kind: 'ReferenceGrant' }> &
  Decoded<typeof referenceGrantSchema>;
