import { MeshError } from '../base/errors.ts';
import type { PartStatus, SandboxStatus } from '../deploy/sandbox/api.ts';

/** The ready ztunnels, or that of one node. @throws {MeshError} ERR_NOT_FOUND when there is none. */
export function ztunnelsOf(status: SandboxStatus, node?: string): PartStatus[] {
  const all = status.parts.filter((part) => part.kind === 'ztunnel');
  const wanted = all.filter((part) => node === undefined || part.node === node);
  const [first] = wanted;
  if (first === undefined) {
    const nodes = all.map((part) => part.node ?? '').join(', ');
    const found = nodes === '' ? 'this sandbox has none' : `nodes are ${nodes}`;
    throw new MeshError(
      'ERR_NOT_FOUND',
      'local',
      `Cannot find a ztunnel on ${node ?? 'any node'}: ${found}`,
    );
  }
  return wanted;
}

/** The control plane of a sandbox. @throws {MeshError} ERR_NOT_FOUND in one without a mesh. */
export function controlPlaneOf(status: SandboxStatus): PartStatus {
  const part = status.parts.find(({ kind }) => kind === 'istiod-lite');
  if (part !== undefined) return part;
  throw new MeshError(
    'ERR_NOT_FOUND',
    'local',
    'Cannot find istiod-lite: this sandbox has no mesh',
  );
}
