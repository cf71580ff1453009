import type { KubernetesObject } from './api.ts';
import type { EnvironmentEntry } from './pod-spec.ts';

/**
 * The value of a `fieldRef`, as the downward API has it; '' for a field that the sandbox does not fill.
 */
export function downwardField(
  fieldPath: string,
  pod: KubernetesObject,
  addresses: Readonly<{ podIps: readonly string[]; hostIps: readonly string[] }>,
): string {
  const { name, namespace = '', uid = '', labels = {}, annotations = {} } = pod.metadata;
  const keyed = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(fieldPath);
  if (keyed !== null) {
    const from = new Map(Object.entries(keyed[1] === 'labels' ? labels : annotations));
    return from.get(keyed[2] ?? '') ?? '';
  }
  const spec = pod['spec'] as Readonly<Record<string, unknown>> | undefined;
  const inSpec = (field: string): string => {
    const value = spec?.[field];
    return typeof value === 'string' ? value : '';
  };
  switch (fieldPath) {
    case 'metadata.name':
      return name;
    case 'metadata.namespace':
      return namespace;
    case 'metadata.uid':
      return uid;
    case 'spec.nodeName':
      return inSpec('nodeName');
    case 'spec.serviceAccountName':
      return inSpec('serviceAccountName');
    case 'status.podIP':
      return addresses.podIps[0] ?? '';
    case 'status.podIPs':
      return addresses.podIps.join(',');
    case 'status.hostIP':
      return addresses.hostIps[0] ?? '';
    case 'status.hostIPs':
      return addresses.hostIps.join(',');
    default:
      return '';
  }
}

/** The entries in order, each with `$(NAME)` of earlier ones filled in. */
export function buildEnvironment(
  base: Readonly<Record<string, string>>,
  entries: readonly EnvironmentEntry[],
  field: (path: string) => string,
): Map<string, string> {
  const environment = new Map(Object.entries(base));
  for (const { name, value, fieldPath } of entries)
    environment.set(
      name,
      fieldPath === undefined ? expandVariables(value, environment) : field(fieldPath),
    );
  return environment;
}

/** Kubernetes' expansion: `$(NAME)` is the value, `$$` is a dollar sign, an unknown name stays as it is. */
export function expandVariables(text: string, environment: ReadonlyMap<string, string>): string {
  return text.replace(/\$(?:\$|\(([^()]*)\))/g, (found, name: string | undefined) => {
    if (name === undefined) return '$';
    return environment.get(name) ?? found;
  });
}
