import {
  boundedList,
  checked,
  group,
  kind,
  namespaceName,
  objectName,
  sectionName,
} from './gateway-values.ts';
import type { FieldPath, Report } from './problem.ts';
import {
  fields,
  integer,
  optional,
  port,
  required,
  withDefault,
  type Decoded,
  type Schema,
} from './schema.ts';

export const GATEWAY_GROUP = 'gateway.networking.k8s.io';
export const ISTIO_GROUP = 'networking.istio.io';

const parentRef = fields({
  group: withDefault(group(), GATEWAY_GROUP),
  kind: withDefault(kind(), 'Gateway'),
  namespace: optional(namespaceName()),
  name: required(objectName()),
  sectionName: optional(sectionName()),
  port: optional(port()),
});

/** What a route attaches to. */
export type ParentRef = Decoded<typeof parentRef>;

/** The kinds that waypoints route for. */
export type ParentKind = 'Service' | 'ServiceEntry';

/** Which of these kinds a reference of a route means; `undefined` for others, such as a Gateway. */
export function parentKind({ group, kind }: ParentRef): ParentKind | undefined {
  if (group === '' && kind === 'Service') return kind;
  if (group === ISTIO_GROUP && kind === 'ServiceEntry') return kind;
  return undefined;
}

/** Whether a reference of a route means a Gateway. */
export function isGatewayRef({ group, kind }: Pick<ParentRef, 'group' | 'kind'>): boolean {
  return group === GATEWAY_GROUP && kind === 'Gateway';
}

/** Whether a reference of a route means a ListenerSet. */
export function isListenerSetRef({ group, kind }: Pick<ParentRef, 'group' | 'kind'>): boolean {
  return group === GATEWAY_GROUP && kind === 'ListenerSet';
}

/** Which of the two a reference of a route means; `undefined` for others. */
export function edgeKind(ref: ParentRef): 'Gateway' | 'ListenerSet' | undefined {
  if (isGatewayRef(ref)) return 'Gateway';
  return isListenerSetRef(ref) ? 'ListenerSet' : undefined;
}

/** At most 32 parents, each named in one way only. */
export const parentRefs: Schema<readonly ParentRef[]> = checked(
  boundedList(parentRef, 32),
  (refs, path, report) => {
    refs.forEach((ref, index) => {
      for (const earlier of refs.slice(0, index))
        checkParents(earlier, ref, [...path, index], report);
    });
  },
);

/** The same parent twice is possible where each time another section or port of it is meant. */
function checkParents(a: ParentRef, b: ParentRef, path: FieldPath, report: Report): void {
  if (a.group !== b.group || a.kind !== b.kind || a.name !== b.name) return;
  if (a.namespace !== b.namespace) return;
  const alike =
    (a.sectionName === undefined) === (b.sectionName === undefined) &&
    (a.port === undefined) === (b.port === undefined);
  if (!alike)
    report.error(path, 'names a parent again: each time sectionName or port must tell them apart');
  else if (a.sectionName === b.sectionName && a.port === b.port)
    report.error(path, 'names a parent, with sectionName and port, that is named before');
}

const backendFields = {
  group: withDefault(group(), ''),
  kind: withDefault(kind(), 'Service'),
  namespace: optional(namespaceName()),
  name: required(objectName()),
  port: optional(port()),
};

type Backend = Readonly<{ group: string; kind: string; port: number | undefined }>;

/** What every reference to a Service must have. */
export function checkBackendPort(backend: Backend, path: FieldPath, report: Report): void {
  if (backend.group === '' && backend.kind === 'Service' && backend.port === undefined)
    report.error([...path, 'port'], 'is required for a Service');
}

/** A backend that gets no share: of a mirror or an authorizer. */
export const backendObject = checked(fields(backendFields), checkBackendPort);

export type BackendObject = Decoded<typeof backendObject>;

/** The fields of a backend with its share of the requests. */
export const weightedBackendFields = {
  ...backendFields,
  weight: withDefault(integer(0, 1_000_000), 1),
};
