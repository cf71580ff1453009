import { ANSWERS, formatCaptureRules, RULES_COMMAND } from '../../deploy/node-agent/rules.ts';
import { inNetns, type Netns } from '../../net/netns.ts';
import { deliverMarked } from '../../net/netlink/policy-routes.ts';
import { runInside } from './namespace.ts';

/** What a node agent would program of a pod: the proxy's sockets are known by their mark. */
export function captureByMark(netns: Netns): void {
  const rules = formatCaptureRules({ dns: false, inbound: true, virtualInterfaces: [] });
  inNetns(netns, () => {
    deliverMarked(ANSWERS, false);
  });
  runInside(netns, RULES_COMMAND.join(' '), rules);
}
