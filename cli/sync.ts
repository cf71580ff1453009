import type { PartStatus } from '../deploy/sandbox/api.ts';
import { readAdminJson } from './admin-pages.ts';
import { listAt, numberAt, textAt } from './object-fields.ts';

/** How far a proxy is with what the control plane has sent it. */
export type ProxySync = Readonly<{
  name: string;
  /** The revision that it has acknowledged in full. */
  revision: number;
  inSync: boolean;
  /** Why not, such as what it refused. */
  detail: string;
}>;

/** Reads the control plane's `/debug/syncz`. @throws {MeshError} ERR_ADMIN_PAGE. */
export async function readSync(controlPlane: PartStatus): Promise<ProxySync[]> {
  const page = await readAdminJson(controlPlane, '/debug/syncz');
  const revision = numberAt(page, 'revision');
  return listAt(page, 'proxies').map((proxy) => ({
    name: textAt(proxy, 'id'),
    revision: numberAt(proxy, 'revision'),
    inSync: numberAt(proxy, 'revision') >= revision,
    detail: textAt(proxy, 'error'),
  }));
}
