import {
  AMBIENT_REDIRECTION,
  AMBIENT_REDIRECTION_ENABLED,
  AMBIENT_REDIRECTION_PENDING,
} from '../../mesh/kubernetes/labels.ts';
import { isCaptureWanted } from '../../mesh/kubernetes/capture.ts';
import type { Enrolment, KubernetesObject, PodStatusLine } from './api.ts';
import { isRecord } from './documents.ts';
import { isPodReady, podIps, podPhase, statusOf } from './pod-status.ts';
import type { ObjectStore } from './store.ts';
import { formatReference, referenceOf } from './store.ts';

/** Annotation that the node agent writes: plain connections open at enrolment that are still open. */
const OPEN_PLAIN_ANNOTATION = 'halo.dev/open-plain-connections';

/** A pod as `halo status` shows it. */
export function describePod(pod: KubernetesObject): PodStatusLine {
  const { namespace = '', name, uid = '', annotations = {} } = pod.metadata;
  const spec = isRecord(pod['spec']) ? pod['spec'] : {};
  const status = statusOf(pod);
  const containers = records(status['containerStatuses']);
  const all = [...containers, ...records(status['initContainerStatuses'])];
  const said = typeof status['message'] === 'string' ? status['message'] : waitingReason(all);
  const unready = records(status['conditions']).find(({ type }) => type === 'Ready')?.['message'];
  const message = said === '' ? textOf(unready) : said;
  const deleting = pod.metadata.deletionTimestamp !== undefined;
  return {
    ...{ namespace, name, uid },
    node: textOf(spec['nodeName']),
    addresses: podIps(pod),
    phase: podPhase(pod),
    ready: isPodReady(pod),
    containersReady: `${containers.filter((container) => container['ready'] === true).length}/${containers.length}`,
    restarts: all.reduce((sum, container) => sum + Number(container['restartCount'] ?? 0), 0),
    enrolment: enrolmentOf(pod),
    serviceAccount: textOf(spec['serviceAccountName']),
    openPlainConnections: Number(annotations[OPEN_PLAIN_ANNOTATION] ?? 0),
    startedAt: textOf(status['startTime']),
    ...(deleting ? { detail: 'ending' } : message !== '' && { detail: message }),
  };
}

function enrolmentOf(pod: KubernetesObject): Enrolment {
  const redirection = pod.metadata.annotations?.[AMBIENT_REDIRECTION];
  if (redirection === AMBIENT_REDIRECTION_ENABLED) return 'enabled';
  if (redirection === AMBIENT_REDIRECTION_PENDING) return 'pending';
  return 'none';
}

/** What is still under way, a short sentence each; empty when the cluster is as its objects ask. */
export function findUnsettled(store: ObjectStore, captures: boolean): string[] {
  const unsettled: string[] = [];
  for (const object of [...store.list('Namespace'), ...store.list('Pod')])
    if (object.metadata.deletionTimestamp !== undefined)
      unsettled.push(`${formatReference(referenceOf(object))} is ending`);
  for (const deployment of store.list('Deployment')) {
    const wanted = Number((deployment['spec'] as Record<string, unknown>)['replicas'] ?? 1);
    const { replicas = 0, updatedReplicas = 0, readyReplicas = 0 } = statusOf(deployment);
    if (replicas !== wanted || updatedReplicas !== wanted || readyReplicas !== wanted)
      unsettled.push(
        `${formatReference(referenceOf(deployment))} has ${String(readyReplicas)} of ${wanted} pods ready`,
      );
  }
  for (const pod of livePods(store)) {
    if (isPodReady(pod)) continue;
    const { detail } = describePod(pod);
    const reference = formatReference(referenceOf(pod));
    unsettled.push(`${reference} is not ready${detail === undefined ? '' : `: ${detail}`}`);
  }
  return captures ? [...unsettled, ...findUnenrolled(store)] : unsettled;
}

/** The pods that are not in or out of the mesh as asked, a short sentence each. */
export function findUnenrolled(store: ObjectStore): string[] {
  return livePods(store).flatMap((pod) => {
    const wanted = isPodCaptureWanted(store, pod);
    const enrolment = enrolmentOf(pod);
    const reference = formatReference(referenceOf(pod));
    if (wanted && enrolment !== 'enabled') return [`${reference} is not enrolled yet`];
    if (!wanted && enrolment !== 'none') return [`${reference} is not released yet`];
    return [];
  });
}

/** Those that run or are to. */
function livePods(store: ObjectStore): KubernetesObject[] {
  return store
    .list('Pod')
    .filter((pod) => pod.metadata.deletionTimestamp === undefined)
    .filter((pod) => !['Succeeded', 'Failed'].includes(podPhase(pod)));
}

function isPodCaptureWanted(store: ObjectStore, pod: KubernetesObject): boolean {
  const { namespace = '', labels, annotations } = pod.metadata;
  const spec = isRecord(pod['spec']) ? pod['spec'] : {};
  return isCaptureWanted({
    ...{ namespace, labels, annotations },
    namespaceLabels: store.get('Namespace', '', namespace)?.metadata.labels,
    hostNetwork: spec['hostNetwork'] === true,
  });
}

function waitingReason(containers: readonly Readonly<Record<string, unknown>>[]): string {
  for (const { name, state } of containers) {
    const waiting = isRecord(state) ? state['waiting'] : undefined;
    if (!isRecord(waiting) || typeof waiting['message'] !== 'string') continue;
    return `${textOf(name)}: ${textOf(waiting['reason'])}: ${waiting['message']}`;
  }
  return '';
}

function records(value: unknown): Readonly<Record<string, unknown>>[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
