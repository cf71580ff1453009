import { makeSpiffeId, identityParts, parseSpiffeId } from '../../mesh/model/identity.ts';
import type { SpiffeId, TrustDomain } from '../../mesh/model/identity.ts';
import type { Caller } from './authenticate.ts';

export type KnownPod = Readonly<{
  uid: string;
  serviceAccount: string;
  /** '' while it is not scheduled. */
  node: string;
  /** As Kubernetes has it: Pending, Running, Succeeded, Failed, Unknown. */
  phase: string;
}>;

/** What the CA must know of the mesh's pods, all at one moment. */
export interface PodDirectory {
  pod(namespace: string, name: string): KnownPod | undefined;
  /** Whether a pod of that account whose phase is not Failed is on that node. */
  hasPodOn(node: string, namespace: string, serviceAccount: string): boolean;
}

export type RequestDecision = Readonly<
  | { kind: 'allow'; identity: SpiffeId }
  /** The reason is for our log; the caller learns only which of the two it was. */
  | {
      kind: 'deny';
      impersonation: boolean;
      reason: string;
      /** For want of a pod alone, which may be so new that it is not in the picture yet. */
      unknownPod?: true;
    }
>;

export type RequestRules = Readonly<{
  trustDomain: TrustDomain;
  /** `<namespace>/<service account>` of those who may ask for others: the node proxies. */
  trustedNodeAccounts: ReadonlySet<string>;
}>;

/**
 * Which identity a caller may have. On its own behalf: its own. On behalf of others: a node proxy, those of the pods on
 * its own node, so that who breaks into one node gets no identity of another.
 *
 * @param impersonated the identity that it asks for in its metadata, as it came; absent: its own.
 */
export function authorizeRequest(
  caller: Caller,
  impersonated: string | undefined,
  pods: PodDirectory,
  rules: RequestRules,
): RequestDecision {
  const impersonation = impersonated !== undefined;
  const deny = (reason: string): Extract<RequestDecision, { kind: 'deny' }> => ({
    ...{ kind: 'deny', impersonation, reason },
  });
  const account = `${caller.namespace}/${caller.serviceAccount}`;

  // A token bound to a pod is worth nothing once that pod is gone, as TokenReview has it.
  const bound = caller.podName !== '' || caller.podUid !== '';
  const pod = bound ? pods.pod(caller.namespace, caller.podName) : undefined;
  if (bound) {
    const name = `${caller.namespace}/${caller.podName}`;
    if (pod === undefined) return deny(`the caller's pod ${name} is not known`);
    if (pod.uid !== caller.podUid)
      return deny(`the caller's pod ${name} has the UID ${pod.uid}, not ${caller.podUid}`);
    if (pod.serviceAccount !== caller.serviceAccount)
      return deny(`the caller's pod ${name} runs under ${pod.serviceAccount}`);
    if (pod.phase === 'Failed' || pod.phase === 'Succeeded')
      return deny(`the caller's pod ${name} has ended (${pod.phase})`);
    if (caller.node !== '' && caller.node !== pod.node)
      return deny(`the caller's pod ${name} is on node ${pod.node}, not ${caller.node}`);
  }
  if (impersonated === undefined) {
    const { trustDomain } = rules;
    return { kind: 'allow', identity: makeSpiffeId({ trustDomain, ...ownAccount(caller) }) };
  }

  if (!rules.trustedNodeAccounts.has(account))
    return deny(`${account} may not ask for the identity of others`);
  if (pod === undefined) return deny('the token is not bound to a pod');
  if (pod.node === '') return deny("the caller's pod is on no node");
  const identity = tryParse(impersonated);
  if (identity === undefined)
    return deny(`${JSON.stringify(impersonated.slice(0, 128))} is not a SPIFFE id of an account`);
  const { trustDomain, namespace, serviceAccount } = identityParts(identity);
  if (trustDomain !== rules.trustDomain)
    return deny(`${identity} is of another trust domain than ${rules.trustDomain}`);
  if (!pods.hasPodOn(pod.node, namespace, serviceAccount))
    return {
      ...deny(`no pod of ${namespace}/${serviceAccount} is on node ${pod.node}`),
      unknownPod: true,
    };
  return { kind: 'allow', identity };
}

function ownAccount(caller: Caller): { namespace: string; serviceAccount: string } {
  return { namespace: caller.namespace, serviceAccount: caller.serviceAccount };
}

function tryParse(text: string): SpiffeId | undefined {
  try {
    return parseSpiffeId(text);
  } catch {
    return undefined;
  }
}
