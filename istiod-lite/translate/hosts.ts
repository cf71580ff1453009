import { serviceHostname } from './names.ts';
import type { MeshSettings } from './settings.ts';

// How kinds of networking.istio.io name services, and who sees them.

/** The host that an object of a namespace means: a name without dots is that of a Service beside it. */
export function resolveHost(written: string, namespace: string, settings: MeshSettings): string {
  const host = written.toLowerCase();
  if (host.includes('.') || host.startsWith('*')) return host;
  return serviceHostname(namespace, host, settings);
}

/** Of the hosts that cover a name the one that says most of it. */
export function mostExactHost(hosts: readonly string[], hostname: string): string | undefined {
  let best: string | undefined;
  for (const host of hosts) {
    const covers = host.startsWith('*') ? hostname.endsWith(host.slice(1)) : host === hostname;
    if (!covers) continue;
    if (host === hostname) return host;
    if (best === undefined || host.length > best.length) best = host;
  }
  return best;
}

/** Whether an object is there for a namespace, by its `exportTo`. */
export function isExported(exportTo: readonly string[], own: string, namespace: string): boolean {
  if (exportTo.length === 0 || exportTo.includes('*') || exportTo.includes(namespace)) return true;
  return exportTo.includes('.') && own === namespace;
}
