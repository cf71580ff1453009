import { WAYPOINT_CLASS } from '../mesh/kubernetes/labels.ts';
import { ingressName, isIngress } from './translate/gateway/ingress-class.ts';
import type { PodDirectory } from './ca/authorize-request.ts';
import type { Snapshot } from './snapshot.ts';
import type { ExpectedProxy } from './xds/server.ts';

/** What the CA asks of the picture. */
export function podDirectory(snapshot: Snapshot): PodDirectory {
  return {
    pod(namespace, name) {
      const pod = snapshot.get('Pod', namespace, name);
      if (pod === undefined) return undefined;
      return {
        uid: pod.metadata.uid,
        serviceAccount: pod.spec.serviceAccountName || 'default',
        node: pod.spec.nodeName,
        phase: pod.status.phase,
      };
    },
    hasPodOn(node, namespace, serviceAccount) {
      for (const pod of snapshot.podsOfAccount(node, namespace, serviceAccount))
        if (pod.status.phase !== 'Failed') return true;
      return false;
    },
  };
}

/** The pods that run as node proxies, by their accounts (`<namespace>/<account>`). */
export function nodeProxies(snapshot: Snapshot, accounts: readonly string[]): ExpectedProxy[] {
  return accounts.flatMap((account) => {
    const [namespace = '', name = ''] = account.split('/');
    return [...snapshot.list('Pod', namespace)]
      .filter(({ spec, status }) => spec.serviceAccountName === name && status.phase === 'Running')
      .map((pod) => ({ pod: pod.ref.name, namespace, node: pod.spec.nodeName }));
  });
}

/**
 * Whether a waypoint or gateway runs under this account: that of a waypoint has its Gateway's name, as istio names what it
 * makes for one, that of a gateway ingressName().
 */
export function runsWaypoint(snapshot: Snapshot, namespace: string, account: string): boolean {
  if (snapshot.get('Gateway', namespace, account)?.spec.gatewayClassName === WAYPOINT_CLASS)
    return true;
  for (const gateway of snapshot.list('Gateway', namespace))
    if (ingressName(gateway) === account && isIngress(snapshot, gateway)) return true;
  return false;
}
