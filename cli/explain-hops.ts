import { parseSocketAddress } from '../base/address.ts';
import type { KubernetesObject, PartStatus, SandboxStatus } from '../deploy/sandbox/api.ts';
import type { InboundExplanation } from '../mesh/model/explain.ts';
import { readAdminJson } from './admin-pages.ts';
import type { Explanation } from './explain-text.ts';
import { listAt, namespaceOf, textAt } from './object-fields.ts';
import type { Sandbox } from './sandbox.ts';

/** CLUSTER_ID of every part of a sandbox; with it begins the name by which the mesh knows a pod. */
const CLUSTER_ID = 'Kubernetes';

/** The proxy that takes a connection, and the workload that it takes it for. */
export type Receiver = Readonly<{ part: PartStatus; workload: string }>;

/** Without an identity, the question is about plain text. */
export async function askInbound(
  receiver: Receiver,
  peer: Readonly<{ ip: string; identity?: string }>,
  target: string,
): Promise<InboundExplanation> {
  const { part, workload } = receiver;
  return (await ask(part, {
    ...{ workload, target, peer: peer.ip },
    ...(peer.identity !== undefined && { identity: peer.identity }),
  })) as InboundExplanation;
}

/** What its receiver says of a connection, as the end of the story. */
export function judge(
  receiver: PartStatus,
  { outcome, plaintext }: InboundExplanation,
): Pick<Explanation, 'allowed' | 'verdict'> {
  const who = `the ztunnel of ${receiver.node ?? 'its node'}`;
  switch (outcome.kind) {
    case 'admit':
      return {
        allowed: true,
        verdict: `Allowed${plaintext ? ', in plain text' : ', over mutual TLS'}: ${outcome.reason}`,
      };
    case 'refuse':
      return { allowed: false, verdict: `Refused by ${who}: ${outcome.reason}` };
    case 'wait':
    case 'ask':
      return { allowed: false, verdict: `Held up by ${who}: ${outcome.reason}` };
  }
}

/** @throws {MeshError} as readAdminJson(). */
export function ask(part: PartStatus, query: Readonly<Record<string, string>>): Promise<unknown> {
  return readAdminJson(part, `/explain?${new URLSearchParams(query).toString()}`);
}

/** The name by which the mesh knows a pod. */
export function uidOf(pod: KubernetesObject): string {
  return `${CLUSTER_ID}//Pod/${namespaceOf(pod)}/${pod.metadata.name}`;
}

/** The ztunnel that captures this pod's connections, if one does. */
export function proxyOf(status: SandboxStatus, pod: KubernetesObject): PartStatus | undefined {
  const line = status.pods.find(
    (one) => one.namespace === namespaceOf(pod) && one.name === pod.metadata.name,
  );
  if (line?.enrolment !== 'enabled') return undefined;
  return status.parts.find((part) => part.kind === 'ztunnel' && part.node === line.node);
}

/** Who takes a tunnel for a workload of a node. */
export function tunnelReceiver(
  status: SandboxStatus,
  { workload, node }: Readonly<{ workload?: string; node?: string }>,
): Receiver | undefined {
  const part = status.parts.find((one) => one.kind === 'ztunnel' && one.node === node);
  return part === undefined || workload === undefined ? undefined : { part, workload };
}

/** Who takes plain text to an address: the proxy of the pod there, if that is captured. */
export async function plainReceiver(
  sandbox: Sandbox,
  status: SandboxStatus,
  target: string,
): Promise<Receiver | undefined> {
  const { ip } = parseSocketAddress(target);
  const pods = await sandbox.objects({ kind: 'Pod' });
  const pod = pods.find((one) =>
    listAt(one, 'status', 'podIPs').some((entry) => textAt(entry, 'ip') === ip),
  );
  const part = pod === undefined ? undefined : proxyOf(status, pod);
  return part === undefined || pod === undefined ? undefined : { part, workload: uidOf(pod) };
}
