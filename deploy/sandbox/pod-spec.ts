import { MeshError } from '../../base/errors.ts';
import { isRecord } from './documents.ts';
import type { KubernetesObject } from './api.ts';

export type Probe = Readonly<{
  action:
    | Readonly<{ kind: 'exec'; command: readonly string[] }>
    | Readonly<{ kind: 'tcp'; port: number | string }>
    | Readonly<{
        kind: 'http';
        port: number | string;
        path: string;
        headers: readonly (readonly [string, string])[];
      }>;
  initialDelayMs: number;
  periodMs: number;
  timeoutMs: number;
  successThreshold: number;
  failureThreshold: number;
}>;

/** What is done in a container before it is told to end. */
export type PreStop = Probe['action'] | Readonly<{ kind: 'sleep'; ms: number }>;

export type EnvironmentEntry = Readonly<{ name: string; value: string; fieldPath?: string }>;

export type ContainerPort = Readonly<{ name: string; port: number; protocol: string }>;

export type VolumeMount = Readonly<{ name: string; mountPath: string }>;

/** A volume, as far as the sandbox fills any. */
export type Volume = Readonly<{
  name: string;
  source: Readonly<
    { kind: 'token'; path: string } | { kind: 'configMap'; name: string } | { kind: 'other' }
  >;
}>;

export type ContainerSpec = Readonly<{
  name: string;
  image: string;
  command: readonly string[];
  args: readonly string[];
  environment: readonly EnvironmentEntry[];
  ports: readonly ContainerPort[];
  workingFolder: string;
  readinessProbe?: Probe;
  preStop?: PreStop;
  volumeMounts: readonly VolumeMount[];
  /** An init container that goes on running beside the others (restartPolicy Always). */
  sidecar: boolean;
}>;

export type PodSpec = Readonly<{
  initContainers: readonly ContainerSpec[];
  containers: readonly ContainerSpec[];
  volumes: readonly Volume[];
  restartPolicy: 'Always' | 'OnFailure' | 'Never';
  nodeName: string;
  nodeSelector: ReadonlyMap<string, string>;
  serviceAccountName: string;
  hostNetwork: boolean;
  terminationGraceMs: number;
  hostname: string;
  subdomain: string;
}>;

/**
 * Reads the part of a pod's spec that the sandbox acts on; what it does not act on (most volumes, resources, security
 * contexts) is passed over.
 *
 * @throws {MeshError} ERR_POD_SPEC naming the field.
 */
export function parsePodSpec(spec: unknown): PodSpec {
  const pod = record(spec, 'spec');
  const containers = list(pod['containers'], 'spec.containers').map((value, index) =>
    parseContainer(value, `spec.containers[${index}]`),
  );
  if (containers.length === 0) throw specError('spec.containers', 'none');
  const initContainers = list(pod['initContainers'], 'spec.initContainers').map((value, index) =>
    parseContainer(value, `spec.initContainers[${index}]`),
  );
  const restartPolicy = text(pod['restartPolicy'], 'spec.restartPolicy', 'Always');
  if (restartPolicy !== 'Always' && restartPolicy !== 'OnFailure' && restartPolicy !== 'Never')
    throw specError('spec.restartPolicy', JSON.stringify(restartPolicy));
  const names = [...initContainers, ...containers].map((container) => container.name);
  if (new Set(names).size !== names.length) throw specError('spec.containers', 'one name twice');
  return {
    initContainers,
    containers,
    volumes: list(pod['volumes'], 'spec.volumes').map((value, index) =>
      parseVolume(value, `spec.volumes[${index}]`),
    ),
    restartPolicy,
    nodeName: text(pod['nodeName'], 'spec.nodeName', ''),
    nodeSelector: new Map(Object.entries(texts(pod['nodeSelector'], 'spec.nodeSelector'))),
    serviceAccountName: text(
      pod['serviceAccountName'] ?? pod['serviceAccount'],
      'spec.serviceAccountName',
      'default',
    ),
    hostNetwork: pod['hostNetwork'] === true,
    terminationGraceMs:
      count(pod['terminationGracePeriodSeconds'], 'spec.terminationGracePeriodSeconds', 30) * 1000,
    hostname: text(pod['hostname'], 'spec.hostname', ''),
    subdomain: text(pod['subdomain'], 'spec.subdomain', ''),
  };
}

/** The containers' ports by name, as a Service's or a probe's named port finds them. */
export function namedPort(spec: PodSpec, name: string): number | undefined {
  const all = [...spec.containers, ...spec.initContainers.filter((container) => container.sidecar)];
  return all.flatMap((container) => container.ports).find((port) => port.name === name)?.port;
}

export function podSpecOf(pod: KubernetesObject): PodSpec {
  return parsePodSpec(pod['spec']);
}

function parseContainer(value: unknown, at: string): ContainerSpec {
  const container = record(value, at);
  const name = text(container['name'], `${at}.name`, '');
  // It becomes part of a file name.
  if (!/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(name))
    throw specError(`${at}.name`, JSON.stringify(name));
  const readiness = container['readinessProbe'];
  const preStop = parsePreStop(container['lifecycle'], `${at}.lifecycle`);
  return {
    name,
    image: text(container['image'], `${at}.image`, ''),
    command: strings(container['command'], `${at}.command`),
    args: strings(container['args'], `${at}.args`),
    environment: list(container['env'], `${at}.env`).map((entry, index) =>
      parseEnvironment(entry, `${at}.env[${index}]`),
    ),
    ports: list(container['ports'], `${at}.ports`).map((entry, index) => {
      const port = record(entry, `${at}.ports[${index}]`);
      return {
        name: text(port['name'], `${at}.ports[${index}].name`, ''),
        port: count(port['containerPort'], `${at}.ports[${index}].containerPort`, 0),
        protocol: text(port['protocol'], `${at}.ports[${index}].protocol`, 'TCP'),
      };
    }),
    workingFolder: text(container['workingDir'], `${at}.workingDir`, '/'),
    volumeMounts: list(container['volumeMounts'], `${at}.volumeMounts`).map((entry, index) => {
      const mount = record(entry, `${at}.volumeMounts[${index}]`);
      return {
        name: text(mount['name'], `${at}.volumeMounts[${index}].name`, ''),
        mountPath: text(mount['mountPath'], `${at}.volumeMounts[${index}].mountPath`, ''),
      };
    }),
    ...(readiness !== undefined &&
      readiness !== null && { readinessProbe: parseProbe(readiness, `${at}.readinessProbe`) }),
    ...(preStop !== undefined && { preStop }),
    sidecar: container['restartPolicy'] === 'Always',
  };
}

function parseVolume(value: unknown, at: string): Volume {
  const volume = record(value, at);
  const name = text(volume['name'], `${at}.name`, '');
  const { configMap, projected } = volume;
  if (configMap !== undefined && configMap !== null) {
    const map = text(record(configMap, `${at}.configMap`)['name'], `${at}.configMap.name`, '');
    return { name, source: { kind: 'configMap', name: map } };
  }
  if (projected === undefined || projected === null) return { name, source: { kind: 'other' } };
  const sources = list(record(projected, `${at}.projected`)['sources'], `${at}.projected.sources`);
  for (const [index, source] of sources.entries()) {
    const where = `${at}.projected.sources[${index}]`;
    const token = record(source, where)['serviceAccountToken'];
    if (token === undefined) continue;
    const path = text(record(token, where)['path'], `${where}.serviceAccountToken.path`, '');
    return { name, source: { kind: 'token', path } };
  }
  return { name, source: { kind: 'other' } };
}

function parseEnvironment(value: unknown, at: string): EnvironmentEntry {
  const entry = record(value, at);
  const name = text(entry['name'], `${at}.name`, '');
  if (name === '' || name.includes('=')) throw specError(`${at}.name`, JSON.stringify(name));
  const from = entry['valueFrom'];
  if (from === undefined || from === null)
    return { name, value: text(entry['value'], `${at}.value`, '') };
  const fieldRef = record(from, `${at}.valueFrom`)['fieldRef'];
  if (fieldRef === undefined)
    throw specError(`${at}.valueFrom`, 'no fieldRef, which is all that the sandbox knows');
  const fieldPath = record(fieldRef, `${at}.valueFrom.fieldRef`)['fieldPath'];
  return { name, value: '', fieldPath: text(fieldPath, `${at}.valueFrom.fieldRef.fieldPath`, '') };
}

function parseProbe(value: unknown, at: string): Probe {
  const probe = record(value, at);
  return {
    action: parseProbeAction(probe, at),
    initialDelayMs: count(probe['initialDelaySeconds'], `${at}.initialDelaySeconds`, 0) * 1000,
    periodMs: Math.max(1, count(probe['periodSeconds'], `${at}.periodSeconds`, 10)) * 1000,
    timeoutMs: Math.max(1, count(probe['timeoutSeconds'], `${at}.timeoutSeconds`, 1)) * 1000,
    successThreshold: Math.max(1, count(probe['successThreshold'], `${at}.successThreshold`, 1)),
    failureThreshold: Math.max(1, count(probe['failureThreshold'], `${at}.failureThreshold`, 3)),
  };
}

function parsePreStop(lifecycle: unknown, at: string): PreStop | undefined {
  const hook = isRecord(lifecycle) ? lifecycle['preStop'] : undefined;
  if (hook === undefined || hook === null) return undefined;
  const where = `${at}.preStop`;
  const { sleep, ...action } = record(hook, where);
  if (sleep === undefined) return parseProbeAction(action, where);
  const seconds = record(sleep, `${where}.sleep`)['seconds'];
  return { kind: 'sleep', ms: count(seconds, `${where}.sleep.seconds`, 0) * 1000 };
}

function parseProbeAction(probe: Record<string, unknown>, at: string): Probe['action'] {
  const { exec, tcpSocket, httpGet } = probe;
  if (exec !== undefined)
    return {
      kind: 'exec',
      command: strings(record(exec, `${at}.exec`)['command'], `${at}.exec.command`),
    };
  if (tcpSocket !== undefined)
    return {
      kind: 'tcp',
      port: portOf(record(tcpSocket, `${at}.tcpSocket`)['port'], `${at}.tcpSocket.port`),
    };
  if (httpGet === undefined) throw specError(at, 'none of exec, tcpSocket, httpGet');
  const get = record(httpGet, `${at}.httpGet`);
  const path = text(get['path'], `${at}.httpGet.path`, '/');
  if (!/^\/[\x21-\x7e]*$/.test(path)) throw specError(`${at}.httpGet.path`, JSON.stringify(path));
  return {
    kind: 'http',
    port: portOf(get['port'], `${at}.httpGet.port`),
    path,
    headers: list(get['httpHeaders'], `${at}.httpGet.httpHeaders`).map((entry) => {
      const header = record(entry, `${at}.httpGet.httpHeaders`);
      return [
        text(header['name'], `${at}.httpGet.httpHeaders.name`, ''),
        text(header['value'], `${at}.httpGet.httpHeaders.value`, ''),
      ] as const;
    }),
  };
}

function portOf(value: unknown, at: string): number | string {
  if (typeof value === 'string' && value !== '') return value;
  return count(value, at, 0);
}

function record(value: unknown, at: string): Record<string, unknown> {
  if (!isRecord(value)) throw specError(at, value === undefined ? 'nothing' : typeof value);
  return value;
}

function list(value: unknown, at: string): unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw specError(at, typeof value);
  return value;
}

function strings(value: unknown, at: string): string[] {
  return list(value, at).map((item, index) => text(item, `${at}[${index}]`, ''));
}

function texts(value: unknown, at: string): Record<string, string> {
  if (value === undefined || value === null) return {};
  return Object.fromEntries(
    Object.entries(record(value, at)).map(([key, item]) => [key, text(item, `${at}.${key}`, '')]),
  );
}

function text(value: unknown, at: string, absent: string): string {
  if (value === undefined || value === null) return absent;
  if (typeof value !== 'string') throw specError(at, `${JSON.stringify(value)}, which is no text`);
  return value;
}

function count(value: unknown, at: string, absent: number): number {
  if (value === undefined || value === null) return absent;
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0)
    throw specError(at, `${JSON.stringify(value)}, which is no whole number`);
  return value;
}

function specError(field: string, found: string): MeshError {
  return new MeshError('ERR_POD_SPEC', 'local', `Cannot use ${field}: found ${found}`);
}
