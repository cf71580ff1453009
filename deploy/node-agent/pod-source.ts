/** A pod of this node, as far as enrolment is concerned. */
export type AgentPod = Readonly<{
  uid: string;
  name: string;
  namespace: string;
  serviceAccount: string;
  labels: Readonly<Record<string, string>>;
  annotations: Readonly<Record<string, string>>;
  namespaceLabels: Readonly<Record<string, string>>;
  hostNetwork: boolean;
  ips: readonly string[];
  /** '' until its network stands. */
  netnsPath: string;
  /** Its containers have ended for good: nothing of it is left to capture. */
  ended: boolean;
}>;

export type PodSourceEvents = Readonly<{
  /** All pods of the node, each time something about one of them changed; not before the first list is whole. */
  onPods(pods: ReadonlyMap<string, AgentPod>): void;
  log(message: string): void;
}>;

/** Where the agent learns of its node's pods, and where it writes what it did: the sandbox, or an API server. */
export interface PodSource {
  /**
   * Replaces or removes (null) annotations of a pod, as long as it is still the one with this uid; tried again until
   * it is done or the pod has gone. Never rejects.
   */
  annotate(pod: AgentPod, annotations: Readonly<Record<string, string | null>>): Promise<void>;
  close(): void;
}
