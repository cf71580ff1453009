import type { ObjectReference } from '../../mesh/kubernetes/object.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../mesh/kubernetes/schema.ts';
import type { Labels } from '../../mesh/kubernetes/selector.ts';
import type { Snapshot } from '../snapshot.ts';

/** Something that runs, or that makes pods which will. */
export type CheckedWorkload = Readonly<{
  ref: ObjectReference;
  namespace: string;
  labels: Labels;
  annotations: Labels;
  /** '' for a machine that has none. */
  serviceAccount: string;
}>;

/** Pods, machines, and the pod templates of whatever kind has one. */
export function workloadsOf(snapshot: Snapshot): CheckedWorkload[] {
  const found: CheckedWorkload[] = [];
  for (const object of snapshot.objects()) {
    const { ref, metadata } = object;
    const { namespace } = ref;
    const { annotations } = metadata;
    if (object.kind === 'Pod') {
      const serviceAccount = object.spec.serviceAccountName || 'default';
      found.push({ ref, namespace, labels: metadata.labels, annotations, serviceAccount });
    } else if (object.kind === 'WorkloadEntry') {
      const labels = new Map([...metadata.labels, ...object.spec.labels]);
      const { serviceAccount } = object.spec;
      found.push({ ref, namespace, labels, annotations, serviceAccount });
    } else {
      const template = templateOf(object.raw);
      if (template !== undefined) found.push({ ref, namespace, ...template });
    }
  }
  return found;
}

/** `spec.template`, or that of a CronJob. */
function templateOf(
  raw: JsonObject,
): Pick<CheckedWorkload, 'labels' | 'annotations' | 'serviceAccount'> | undefined {
  const template =
    at(raw, ['spec', 'template']) ?? at(raw, ['spec', 'jobTemplate', 'spec', 'template']);
  if (!isJsonObject(template) || !isJsonObject(template['spec'])) return undefined;
  const account = template['spec']['serviceAccountName'];
  return {
    labels: textsOf(at(template, ['metadata', 'labels'])),
    annotations: textsOf(at(template, ['metadata', 'annotations'])),
    serviceAccount: typeof account === 'string' && account !== '' ? account : 'default',
  };
}

function at(value: JsonValue, path: readonly string[]): JsonValue | undefined {
  let here: JsonValue | undefined = value;
  for (const step of path) {
    if (!isJsonObject(here)) return undefined;
    here = here[step];
  }
  return here;
}

function textsOf(value: JsonValue | undefined): Labels {
  if (!isJsonObject(value)) return new Map();
  return new Map(
    Object.entries(value).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  );
}
