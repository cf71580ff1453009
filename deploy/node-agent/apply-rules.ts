import { runCommand } from '../../mesh/runtime/command.ts';
import { inNetns, type Netns } from '../../net/netns.ts';
import { deliverMarked, forgetMarked } from '../../net/netlink/policy-routes.ts';
import { ANSWERS, NO_RULES, RELEASE_SCRIPT, RULES_COMMAND } from './rules.ts';

/**
 * Puts rules in force in a namespace, and the routes by which answers to a client's kept address find the way back to the
 * proxy. Doing it again changes nothing; what is missing of it is mended.
 *
 * @throws {MeshError} unless all of it is in force.
 */
export async function setRules(netns: Netns, rules: string, ipv6: boolean): Promise<void> {
  inNetns(netns, () => {
    deliverMarked(ANSWERS, ipv6);
  });
  await runIn(netns, RULES_COMMAND, rules);
}

/** Nothing new is captured from now on; what is captured goes on. Without rules of ours it does nothing. */
export async function releaseRules(netns: Netns): Promise<void> {
  await runIn(netns, ['sh', '-c', RELEASE_SCRIPT]);
}

/** Removes every trace; before the last captured connection has ended, it resets that one. */
export async function removeRules(netns: Netns, ipv6: boolean): Promise<void> {
  await runIn(netns, RULES_COMMAND, NO_RULES);
  inNetns(netns, () => {
    forgetMarked(ANSWERS, ipv6);
  });
}

/** Runs a program inside a namespace: started from there, it lives there, and this thread is back at once. */
function runIn(netns: Netns, command: readonly string[], input = ''): Promise<string> {
  return inNetns(netns, () => runCommand(command, { input }));
}
