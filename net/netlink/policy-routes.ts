import { errorCode } from '../../base/errors.ts';
import { AF_INET, AF_INET6 } from '../native/libc.ts';
import {
  NETLINK_ROUTE,
  NetlinkConnection,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  numberAttribute,
} from './connection.ts';

/** linux/rtnetlink.h, linux/fib_rules.h. */
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const RTA_OIF = 4;
const RTPROT_BOOT = 3;
const RT_SCOPE_HOST = 254;
const RTN_LOCAL = 2;
const FR_ACT_TO_TBL = 1;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_FWMASK = 16;
/** In each network namespace it is the first. */
const LOOPBACK_INDEX = 1;

export type MarkedRoute = Readonly<{
  mark: number;
  mask: number;
  /** Where the rule stands among others. */
  preference: number;
  /** The table of its own that the rule leads to, below 256. */
  table: number;
}>;

/**
 * Has packets with a mark delivered on this host, whoever's their addresses are: a rule, and a table with one route. In
 * the namespace that the thread is in. Doing it again changes nothing.
 *
 * @throws {MeshError} the kernel's error, such as ERR_SYSTEM_ENETDOWN where the loopback interface is down.
 */
export function deliverMarked(route: MarkedRoute, ipv6: boolean): void {
  using kernel = new NetlinkConnection(NETLINK_ROUTE);
  for (const family of familiesOf(ipv6)) {
    const replace = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
    kernel.request(RTM_NEWROUTE, replace, routeMessage(family, route), 'set a local route');
    const create = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    unless(['ERR_SYSTEM_EEXIST'], () =>
      kernel.request(RTM_NEWRULE, create, ruleMessage(family, route), 'add a routing rule'),
    );
  }
}

/** Undoes deliverMarked(), as far as it was done. @throws {MeshError} the kernel's error. */
export function forgetMarked(route: MarkedRoute, ipv6: boolean): void {
  using kernel = new NetlinkConnection(NETLINK_ROUTE);
  for (const family of familiesOf(ipv6)) {
    const remove = (type: number, body: Buffer, what: string): void => {
      // No rule is ENOENT, no route ESRCH.
      const isGone = ['ERR_SYSTEM_ENOENT', 'ERR_SYSTEM_ESRCH'];
      unless(isGone, () => kernel.request(type, NLM_F_ACK, body, what));
    };
    remove(RTM_DELRULE, ruleMessage(family, route), 'remove a routing rule');
    remove(RTM_DELROUTE, routeMessage(family, route), 'remove a local route');
  }
}

function familiesOf(ipv6: boolean): number[] {
  return ipv6 ? [AF_INET, AF_INET6] : [AF_INET];
}

/** struct rtmsg: family, two prefix lengths, TOS, table, protocol, scope, type, flags. */
function routeMessage(family: number, { table }: MarkedRoute): Buffer {
  const head = [family, 0, 0, 0, table, RTPROT_BOOT, RT_SCOPE_HOST, RTN_LOCAL, 0, 0, 0, 0];
  return Buffer.concat([Buffer.from(head), numberAttribute(RTA_OIF, LOOPBACK_INDEX)]);
}

/** struct fib_rule_hdr: family, two prefix lengths, TOS, table, two reserved, action, flags. */
function ruleMessage(family: number, { table, mark, mask, preference }: MarkedRoute): Buffer {
  const head = [family, 0, 0, 0, table, 0, 0, FR_ACT_TO_TBL, 0, 0, 0, 0];
  return Buffer.concat([
    Buffer.from(head),
    numberAttribute(FRA_PRIORITY, preference),
    numberAttribute(FRA_FWMARK, mark),
    numberAttribute(FRA_FWMASK, mask),
  ]);
}

/** Does something, and it is well as well if it fails with one of these codes. */
function unless(codes: readonly string[], action: () => unknown): void {
  try {
    action();
  } catch (error) {
    if (!codes.includes(errorCode(error) ?? '')) throw error;
  }
}
