import {
  DATAPLANE_MODE,
  DATAPLANE_MODE_AMBIENT,
  DATAPLANE_MODE_NONE,
  SIDECAR_STATUS,
} from './labels.ts';

type Texts = Readonly<Record<string, string>>;

export type CaptureSubject = Readonly<{
  namespace: string;
  labels: Texts | undefined;
  annotations: Texts | undefined;
  namespaceLabels: Texts | undefined;
  hostNetwork: boolean;
}>;

/** As istio-cni's default of `excludeNamespaces`. */
const EXCLUDED_NAMESPACES: ReadonlySet<string> = new Set(['kube-system']);

/**
 * Whether a pod's traffic is to be captured: its own label wins over its namespace's. Never for a pod without a
 * network of its own, one with a sidecar, or one of an excluded namespace.
 */
export function isCaptureWanted(pod: CaptureSubject): boolean {
  if (pod.hostNetwork || EXCLUDED_NAMESPACES.has(pod.namespace)) return false;
  if (pod.annotations?.[SIDECAR_STATUS] !== undefined) return false;
  const own = pod.labels?.[DATAPLANE_MODE];
  if (own === DATAPLANE_MODE_AMBIENT) return true;
  if (own === DATAPLANE_MODE_NONE) return false;
  return pod.namespaceLabels?.[DATAPLANE_MODE] === DATAPLANE_MODE_AMBIENT;
}
