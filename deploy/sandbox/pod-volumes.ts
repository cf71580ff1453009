import { join } from 'node:path';
import type { ContainerSpec, PodSpec } from './pod-spec.ts';

/** The ConfigMap that a control plane makes in every namespace. */
const ROOT_CERTIFICATES = 'istio-ca-root-cert';

/** Where the volumes of a pod are on this machine. */
export type VolumeSources = Readonly<{
  /** A token of the pod's account, kept fresh. */
  token: string;
  /** The root certificates of the mesh. */
  rootCertificate: string;
}>;

/** Whether a pod asks for a token of its account as a file. */
export function wantsToken({ volumes }: PodSpec): boolean {
  return volumes.some(({ source }) => source.kind === 'token');
}

/**
 * A value of a container's environment with the paths of its volumes as they are here. The sandbox does not isolate
 * file systems, so there is nothing to mount: what names a file of a volume is given the file itself.
 */
export function localPath(
  value: string,
  spec: PodSpec,
  { volumeMounts }: Pick<ContainerSpec, 'volumeMounts'>,
  sources: VolumeSources,
): string {
  for (const { name, mountPath } of volumeMounts) {
    const volume = spec.volumes.find((each) => each.name === name);
    if (volume === undefined || !value.startsWith(`${mountPath}/`)) continue;
    const { source } = volume;
    if (source.kind === 'token' && value === join(mountPath, source.path)) return sources.token;
    if (source.kind === 'configMap' && source.name === ROOT_CERTIFICATES)
      return sources.rootCertificate;
  }
  return value;
}
