import { perObject } from '../../base/per-object.ts';
import type { ConfigMap } from '../../mesh/kubernetes/core.ts';
import type { Report } from '../../mesh/kubernetes/problem.ts';
import {
  anything,
  fields,
  integer,
  list,
  oneOf,
  optional,
  type Decoded,
} from '../../mesh/kubernetes/schema.ts';
import { parseYaml } from '../../mesh/kubernetes/yaml.ts';
import {
  PATH_NORMALIZATIONS,
  type PathNormalization,
} from '../../mesh/model/path-normalization.ts';
import type { Picture } from '../snapshot.ts';
import { readAuthorizers, type Authorizers } from './authorizers.ts';
import type { MeshSettings } from './settings.ts';

/** Where Istio keeps what holds for the mesh: the key `mesh` of this ConfigMap in the root namespace. */
const CONFIG_MAP = 'istio';
const KEY = 'mesh';
/** More proxies than any request goes through. */
const MOST_PROXIES = 64;

/** What of Istio's MeshConfig is in force here. */
export type MeshConfig = Readonly<{
  /** External authorizers, by the names that CUSTOM policies have for them. */
  authorizers: Authorizers;
  pathNormalization: PathNormalization;
  /** Proxies before a waypoint that are believed about the client's address. */
  trustedProxies: number;
}>;

/** Istio's DEFAULT is BASE; ours is the strict one, and BASE by its name restores Istio's. */
const schema = fields(
  {
    extensionProviders: list(anything()),
    pathNormalization: optional(
      fields({ normalization: oneOf(['DEFAULT', ...PATH_NORMALIZATIONS], 'DEFAULT') }),
    ),
    defaultConfig: optional(
      fields(
        {
          gatewayTopology: optional(
            fields({ numTrustedProxies: integer(0, MOST_PROXIES) }, 'ignore'),
          ),
        },
        'ignore',
      ),
    ),
  },
  'ignore',
);

const NO_CONFIG: MeshConfig = {
  authorizers: new Map(),
  pathNormalization: 'STRICT',
  trustedProxies: 0,
};
const configOf = perObject(readConfig);

/** What holds for the mesh; a setting that cannot be read is as if it were not there, so that it is the strict one. */
export function meshConfigOf(picture: Picture, settings: MeshSettings): MeshConfig {
  const map = picture.get('ConfigMap', settings.rootNamespace, CONFIG_MAP);
  return map === undefined ? NO_CONFIG : configOf(map);
}

function readConfig({ data }: ConfigMap): MeshConfig {
  const mesh = data.get(KEY);
  if (mesh === undefined) return NO_CONFIG;
  const [document] = parseYaml(mesh, KEY).documents;
  if (document === undefined) return NO_CONFIG;
  const ignored: Report = { error: () => undefined, warn: () => undefined };
  return toConfig(schema.decode(document.value, [], ignored));
}

function toConfig(mesh: Decoded<typeof schema>): MeshConfig {
  const { normalization = 'DEFAULT' } = mesh.pathNormalization ?? {};
  return {
    authorizers: readAuthorizers(mesh.extensionProviders),
    pathNormalization: normalization === 'DEFAULT' ? 'STRICT' : normalization,
    trustedProxies: mesh.defaultConfig?.gatewayTopology?.numTrustedProxies ?? 0,
  };
}
