import { createHash, randomInt } from 'node:crypto';
import { MeshError } from '../../base/errors.ts';
import { POD_TEMPLATE_HASH } from '../../mesh/kubernetes/labels.ts';
import type { KubernetesObject } from './api.ts';
import { isRecord } from './documents.ts';
import { parsePodSpec } from './pod-spec.ts';
import { isPodReady, podPhase } from './pod-status.ts';
import { referenceOf, withMetadata, type ObjectStore } from './store.ts';
import { matchesLabels, plainSelector } from './selector.ts';

/** What `kubectl rollout restart` writes into the template, so that it is another one. */
export const RESTARTED_AT = 'kubectl.kubernetes.io/restartedAt';
/** Pods beyond the wanted number while a new template is rolled out; Kubernetes takes 25 %, rounded up. */
const SURGE_SHARE = 0.25;
/** The letters that Kubernetes makes name suffixes of: no vowels, so no words. */
const SUFFIX_LETTERS = 'bcdfghjklmnpqrstvwxz2456789';

export type DeploymentSpec = Readonly<{
  replicas: number;
  selector: ReadonlyMap<string, string>;
  recreate: boolean;
  labels: Readonly<Record<string, string>>;
  annotations: Readonly<Record<string, string>>;
  podSpec: Readonly<Record<string, unknown>>;
}>;

/** @throws {MeshError} ERR_DEPLOYMENT or ERR_POD_SPEC naming the field. */
export function parseDeployment(object: KubernetesObject): DeploymentSpec {
  const { spec } = object;
  const fail = (field: string, found: string): MeshError =>
    new MeshError('ERR_DEPLOYMENT', 'local', `Cannot use ${field}: found ${found}`);
  if (!isRecord(spec)) throw fail('spec', 'nothing');
  const { template, selector, replicas = 1, strategy } = spec;
  if (!isRecord(template) || !isRecord(template['spec'])) throw fail('spec.template', 'no pod');
  if (typeof replicas !== 'number' || !Number.isInteger(replicas) || replicas < 0)
    throw fail('spec.replicas', JSON.stringify(replicas));
  const metadata = isRecord(template['metadata']) ? template['metadata'] : {};
  const labels = Object.fromEntries(plainSelector(metadata['labels']) ?? []);
  const matchLabels = plainSelector(isRecord(selector) ? selector['matchLabels'] : undefined);
  if (matchLabels === undefined) throw fail('spec.selector.matchLabels', 'nothing');
  if (!matchesLabels(matchLabels, labels))
    throw fail('spec.selector.matchLabels', 'labels that the template does not have');
  parsePodSpec(template['spec']);
  return {
    replicas,
    selector: matchLabels,
    recreate: isRecord(strategy) && strategy['type'] === 'Recreate',
    labels,
    annotations: Object.fromEntries(plainSelector(metadata['annotations']) ?? []),
    podSpec: template['spec'],
  };
}

/** Names a template: equal templates have equal hashes. */
function templateHash(spec: DeploymentSpec): string {
  const { labels, annotations, podSpec } = spec;
  const digest = createHash('sha256').update(JSON.stringify({ labels, annotations, podSpec }));
  return [...digest.digest().subarray(0, 9)].map(suffixLetter).join('');
}

export type PodsWanted = Readonly<{ create: number; remove: readonly KubernetesObject[] }>;

/** What to do now so that `replicas` pods of the current template run, and never fewer are ready on the way. */
export function planRollout(
  spec: DeploymentSpec,
  current: readonly KubernetesObject[],
  old: readonly KubernetesObject[],
): PodsWanted {
  const { replicas } = spec;
  const byUse = [...current].sort((a, b) => Number(isPodReady(a)) - Number(isPodReady(b)));
  const surplus = byUse.slice(0, Math.max(0, current.length - replicas));
  if (spec.recreate && old.length > 0) return { create: 0, remove: [...old, ...surplus] };
  const limit = replicas + (old.length > 0 ? Math.max(1, Math.ceil(replicas * SURGE_SHARE)) : 0);
  const create = Math.max(
    0,
    Math.min(replicas - current.length, limit - current.length - old.length),
  );
  // Each ready new pod lets an old one go; those that do not serve anyway go first.
  const ready = current.filter(isPodReady).length;
  const mayGo = Math.max(0, old.length - Math.max(0, replicas - ready));
  const oldByUse = [...old].sort((a, b) => Number(isPodReady(a)) - Number(isPodReady(b)));
  return { create, remove: [...surplus, ...oldByUse.slice(0, mayGo)] };
}

/** Makes and removes the pods of every Deployment, and writes how far it is. */
export function reconcileDeployments(
  store: ObjectStore,
  removePod: (pod: KubernetesObject) => void,
): void {
  for (const deployment of store.list('Deployment')) reconcileOne(store, deployment, removePod);
  for (const pod of store.list('Pod')) {
    const owner = ownerOf(pod);
    if (owner === undefined) continue;
    const found = store.get('Deployment', pod.metadata.namespace ?? '', owner.deployment);
    if (found?.metadata.uid !== owner.uid) removePod(pod);
  }
}

function reconcileOne(
  store: ObjectStore,
  deployment: KubernetesObject,
  removePod: (pod: KubernetesObject) => void,
): void {
  const spec = parseDeployment(deployment);
  const { namespace = '', uid = '' } = deployment.metadata;
  const hash = templateHash(spec);
  const owned = store
    .list('Pod', namespace)
    .filter((pod) => ownerOf(pod)?.uid === uid && pod.metadata.deletionTimestamp === undefined);
  // Ended pods do not count; they are kept until replaced, for their logs.
  const alive = owned.filter((pod) => podPhase(pod) !== 'Failed' && podPhase(pod) !== 'Succeeded');
  const ended = owned.filter((pod) => !alive.includes(pod));
  const isCurrent = (pod: KubernetesObject): boolean =>
    pod.metadata.labels?.[POD_TEMPLATE_HASH] === hash;
  const current = alive.filter(isCurrent);
  const old = alive.filter((pod) => !isCurrent(pod));
  // A template that cannot even start must not be tried without end.
  const broken = ended.filter(isCurrent).length;
  const plan = planRollout(spec, current, old);
  for (const pod of [...plan.remove, ...ended.filter((pod) => !isCurrent(pod))]) removePod(pod);
  for (let made = broken; made < plan.create; made++) store.put(makePod(deployment, spec, hash));
  const ready = current.filter(isPodReady).length;
  store.update(referenceOf(deployment), (now) => ({
    ...now,
    status: {
      observedGeneration: now.metadata.generation ?? 1,
      replicas: alive.length,
      updatedReplicas: current.length,
      readyReplicas: alive.filter(isPodReady).length,
      availableReplicas: alive.filter(isPodReady).length,
      unavailableReplicas: Math.max(0, spec.replicas - ready),
    },
  }));
}

function makePod(
  deployment: KubernetesObject,
  spec: DeploymentSpec,
  hash: string,
): KubernetesObject {
  const { namespace = '', name, uid = '' } = deployment.metadata;
  const replicaSet = `${name}-${hash}`;
  const suffix = Array.from({ length: 5 }, () => suffixLetter(randomInt(256))).join('');
  return withMetadata(
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: {
        name: `${replicaSet}-${suffix}`,
        namespace,
        labels: spec.labels,
        annotations: spec.annotations,
        ownerReferences: [
          // The Deployment's own uid stands for the ReplicaSet's: the sandbox has none of these.
          { apiVersion: 'apps/v1', kind: 'ReplicaSet', name: replicaSet, uid, controller: true },
        ],
      },
      spec: spec.podSpec,
    },
    { labels: { [POD_TEMPLATE_HASH]: hash } },
  );
}

/** The Deployment that a pod was made for. */
function ownerOf(pod: KubernetesObject): Readonly<{ deployment: string; uid: string }> | undefined {
  const owner = pod.metadata.ownerReferences?.find(
    (reference) => reference['kind'] === 'ReplicaSet',
  );
  const { name, uid } = owner ?? {};
  const hash = pod.metadata.labels?.[POD_TEMPLATE_HASH];
  if (typeof name !== 'string' || typeof uid !== 'string' || hash === undefined) return undefined;
  return { deployment: name.slice(0, -hash.length - 1), uid };
}

function suffixLetter(byte: number): string {
  return SUFFIX_LETTERS.charAt(byte % SUFFIX_LETTERS.length);
}
