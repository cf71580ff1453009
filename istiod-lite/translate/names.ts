import type { MeshSettings } from './settings.ts';

/** `<name>.<namespace>.svc.<cluster domain>`. */
export function serviceHostname(namespace: string, name: string, settings: MeshSettings): string {
  return `${name}.${namespace}.svc.${settings.clusterDomain}`;
}
