import { tryParseIpAddress, type IpAddress } from '../base/address.ts';
import { MeshError } from '../base/errors.ts';
import type { KubernetesObject, ObjectReference } from '../deploy/sandbox/api.ts';
import { GATEWAY_NAME } from '../mesh/kubernetes/labels.ts';
import { usageError } from './command.ts';
import { didYouMean } from './nearest.ts';
import { conditionOf, listAt, namespaceOf, numberAt, textAt, textsAt } from './object-fields.ts';
import type { Sandbox } from './sandbox.ts';

export const DEFAULT_NAMESPACE = 'default';

/**
 * Finds the pod that a text means: `name`, `namespace/name`, or `deploy/name` and `gateway/name` for a ready pod of a
 * Deployment or of a Gateway.
 * Without a namespace, `default` is asked first, then all, as long as the name is found only once.
 *
 * @throws {MeshError} ERR_NOT_FOUND, naming what was likely meant.
 */
export async function findPod(
  sandbox: Sandbox,
  reference: string,
  namespace?: string,
): Promise<KubernetesObject> {
  const [before, after] = splitOnce(reference, '/');
  if (after === undefined) return findNamed(sandbox, 'Pod', before, namespace);
  if (['pod', 'pods', 'po'].includes(before)) return findNamed(sandbox, 'Pod', after, namespace);
  if (['deploy', 'deployment', 'deployments'].includes(before))
    return podOfDeployment(sandbox, after, namespace);
  if (['gateway', 'gateways', 'gtw'].includes(before))
    return podOfGateway(sandbox, after, namespace);
  return findNamed(sandbox, 'Pod', after, before);
}

/**
 * Finds the Service that a text means: `name`, `namespace/name` or `name.namespace`; a bare name as findPod() does.
 *
 * @throws {MeshError} ERR_NOT_FOUND.
 */
export async function findService(
  sandbox: Sandbox,
  reference: string,
  namespace?: string,
): Promise<KubernetesObject> {
  const slash = splitOnce(reference, '/');
  if (slash[1] !== undefined)
    return ['svc', 'service', 'services'].includes(slash[0])
      ? findNamed(sandbox, 'Service', slash[1], namespace)
      : findNamed(sandbox, 'Service', slash[1], slash[0]);
  const [name = '', second] = reference.split('.');
  return findNamed(sandbox, 'Service', name, second ?? namespace);
}

async function podOfDeployment(
  sandbox: Sandbox,
  name: string,
  namespace: string | undefined,
): Promise<KubernetesObject> {
  const deployment = await findNamed(sandbox, 'Deployment', name, namespace);
  const labels = Object.entries(matchLabelsOf(deployment));
  return podWithLabels(sandbox, deployment, labels);
}

async function podOfGateway(
  sandbox: Sandbox,
  name: string,
  namespace: string | undefined,
): Promise<KubernetesObject> {
  const gateway = await findNamed(sandbox, 'Gateway', name, namespace);
  return podWithLabels(sandbox, gateway, [[GATEWAY_NAME, name]]);
}

/** One that is ready, if any is. @param owner what is named where there is no pod. */
async function podWithLabels(
  sandbox: Sandbox,
  owner: KubernetesObject,
  labels: readonly (readonly [string, string])[],
): Promise<KubernetesObject> {
  const pods = await sandbox.objects({
    kind: 'Pod',
    namespace: namespaceOf(owner),
    selector: labels.map(([key, value]) => `${key}=${value}`).join(','),
  });
  const alive = pods.filter((pod) => pod.metadata.deletionTimestamp === undefined);
  const pod = alive.find((one) => conditionOf(one, 'Ready') === 'True') ?? alive[0];
  if (pod !== undefined && labels.length > 0) return pod;
  const { kind, metadata } = owner;
  throw notFound(`Cannot find a pod of ${kind} ${namespaceOf(owner)}/${metadata.name}`);
}

function matchLabelsOf(deployment: KubernetesObject): Record<string, string> {
  const spec = deployment['spec'] as { selector?: { matchLabels?: Record<string, string> } };
  return spec.selector?.matchLabels ?? {};
}

async function findNamed(
  sandbox: Sandbox,
  kind: 'Pod' | 'Service' | 'Deployment' | 'Gateway',
  name: string,
  namespace: string | undefined,
): Promise<KubernetesObject> {
  const all = await sandbox.objects({ kind });
  const here = namespace ?? DEFAULT_NAMESPACE;
  const named = all.filter((object) => object.metadata.name === name);
  const exact = named.find((object) => namespaceOf(object) === here);
  if (exact !== undefined) return exact;
  const [only, second] = named;
  if (namespace === undefined && only !== undefined && second === undefined) return only;
  if (namespace === undefined && only !== undefined) {
    const places = named.map((object) => `${namespaceOf(object)}/${name}`).join(', ');
    throw notFound(`Cannot tell which ${kind} "${name}" is meant: found ${places}`);
  }
  const names = all
    .filter((object) => namespace === undefined || namespaceOf(object) === namespace)
    .map((object) => object.metadata.name);
  const hint = didYouMean(name, names);
  throw notFound(`Cannot find ${kind} "${name}" in namespace ${here}${hint}`);
}

function notFound(message: string): MeshError {
  return new MeshError('ERR_NOT_FOUND', 'local', message);
}

/** Where a connection would go, as the app in the pod would dial it. */
export type Destination = Readonly<{ ip: IpAddress; port: number; label: string }>;

/**
 * Finds the address and port that a text means: an IP address, a Service (`name`, `name.namespace`,
 * `name.namespace.svc...`, `namespace/name`), or a pod (`name`, `namespace/name`); then `:port`. Without a port, the
 * Service's or container's only one is taken. A bare name is looked up in the namespace of the source.
 *
 * @throws {MeshError} ERR_NOT_FOUND or ERR_USAGE.
 */
export async function findDestination(
  sandbox: Sandbox,
  text: string,
  sourceNamespace: string,
): Promise<Destination> {
  const { host, port } = splitPort(text);
  const ip = tryParseIpAddress(host);
  if (ip !== undefined) {
    if (port === undefined) throw usageError(`Destination ${text} needs a port: ${text}:80`);
    return { ip, port, label: host };
  }
  const { name, namespace } = splitHost(host, sourceNamespace);
  const [services, pods] = await Promise.all([
    sandbox.objects({ kind: 'Service' }),
    sandbox.objects({ kind: 'Pod' }),
  ]);
  const isNamed = (object: KubernetesObject): boolean =>
    object.metadata.name === name && namespaceOf(object) === namespace;
  const service = services.find(isNamed);
  if (service !== undefined) return serviceDestination(service, port);
  const pod = pods.find(isNamed);
  if (pod !== undefined) return podDestination(pod, port);
  const known = [...services, ...pods]
    .filter((object) => namespaceOf(object) === namespace)
    .map((object) => object.metadata.name);
  throw notFound(
    `Cannot find Service or Pod "${name}" in namespace ${namespace}${didYouMean(name, known)}`,
  );
}

/** `host:80`, `[fd00::1]:80`, or either without a port; an IPv6 address without a port needs no brackets. */
export function splitPort(text: string): { host: string; port: number | undefined } {
  const [, v6, host, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const name = v6 ?? host;
  if (name === undefined || name === '') {
    if (tryParseIpAddress(text) !== undefined) return { host: text, port: undefined };
    throw usageError(`Cannot read destination ${text}: use HOST, HOST:PORT or [IPV6]:PORT`);
  }
  const number = port === undefined ? undefined : Number(port);
  if (number !== undefined && (number < 1 || number > 65535))
    throw usageError(`Cannot read destination ${text}: ports are 1 to 65535`);
  return { host: name, port: number };
}

function splitHost(host: string, sourceNamespace: string): { name: string; namespace: string } {
  const [before, after] = splitOnce(host, '/');
  if (after !== undefined) return { name: after, namespace: before };
  // A pod's name may hold dots, a Service's may not; what follows the first one is its namespace.
  const [name = '', namespace] = host.split('.');
  return { name, namespace: namespace ?? sourceNamespace };
}

function serviceDestination(service: KubernetesObject, wanted: number | undefined): Destination {
  const label = `${service.metadata.name}.${namespaceOf(service)}`;
  const addresses = textsAt(service, 'spec', 'clusterIPs');
  const text = addresses[0] ?? textAt(service, 'spec', 'clusterIP');
  const ip = tryParseIpAddress(text);
  if (ip === undefined)
    throw notFound(
      `Cannot explain ${label}: a headless Service has no address; name one of its pods`,
    );
  const ports = listAt(service, 'spec', 'ports').map((port) => numberAt(port, 'port'));
  return { ip, port: wanted ?? onlyPort(ports, label), label };
}

function podDestination(pod: KubernetesObject, wanted: number | undefined): Destination {
  const label = `${namespaceOf(pod)}/${pod.metadata.name}`;
  const ip = tryParseIpAddress(textAt(pod, 'status', 'podIP'));
  if (ip === undefined) throw notFound(`Cannot find the address of pod ${label}: it does not run`);
  const ports = listAt(pod, 'spec', 'containers')
    .flatMap((container) => listAt(container, 'ports'))
    .map((port) => numberAt(port, 'containerPort'));
  return { ip, port: wanted ?? onlyPort(ports, label), label };
}

/** @throws {MeshError} ERR_USAGE where there is not one alone. */
export function onlyPort(ports: readonly number[], label: string): number {
  const [port, second] = ports;
  if (port !== undefined && second === undefined) return port;
  const found = ports.length === 0 ? 'it declares none' : `it has ${ports.join(', ')}`;
  throw usageError(`Say which port of ${label} is meant: ${found}`);
}

/**
 * Reads `KIND NAME...` or `KIND/NAME...` as kubectl does.
 *
 * @throws {MeshError} ERR_USAGE.
 */
export function parseObjectReferences(
  words: readonly string[],
  namespace: string | undefined,
): ObjectReference[] {
  const place = { namespace: namespace ?? DEFAULT_NAMESPACE };
  const [kind = '', ...names] = words;
  if (kind.includes('/'))
    return words.map((word) => {
      const [wordKind, name] = splitOnce(word, '/');
      if (name === undefined || name === '' || wordKind === '')
        throw usageError(`Cannot read ${word}: use KIND/NAME`);
      return { kind: wordKind, name, ...place };
    });
  if (names.length === 0) throw usageError(`Say which ${kind}: ${kind} NAME or ${kind}/NAME`);
  return names.map((name) => ({ kind, name, ...place }));
}

/**
 * Reads `NAME` or `deploy/NAME`.
 *
 * @throws {MeshError} ERR_USAGE for another kind.
 */
export function deploymentReference(
  text: string,
  namespace = DEFAULT_NAMESPACE,
): { namespace: string; name: string } {
  const [before, after] = splitOnce(text, '/');
  if (after === undefined) return { namespace, name: before };
  if (['deploy', 'deployment', 'deployments'].includes(before)) return { namespace, name: after };
  throw usageError(`Cannot read ${text}: only Deployments can be scaled or restarted`);
}

function splitOnce(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + separator.length)];
}
