import type { ObjectBase } from './object.ts';
import { anything, fields, type Decoded } from './schema.ts';

/** What stands in it is for whoever reads it to judge: most are of no use to the mesh. */
export const configMapSchema = fields({ data: anything() }, 'ignore');

export type ConfigMap = ObjectBase &
  Readonly<{ kind: 'ConfigMap' }> &
  Decoded<typeof configMapSchema>;
