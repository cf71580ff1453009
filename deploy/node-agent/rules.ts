import type { MarkedRoute } from '../../net/netlink/policy-routes.ts';

/** What is captured in one pod, by its annotations and the node's defaults. */
export type CaptureOptions = Readonly<{
  dns: boolean;
  /** False for `bypass-inbound-capture`: what arrives in plain text goes straight to the application. */
  inbound: boolean;
  /** Interfaces whose traffic counts as the pod's own, such as those of a virtual machine inside. */
  virtualInterfaces: readonly string[];
}>;

/** Packets of the proxy's own sockets carry it; upstream's value, also where other tools look for it. */
export const PROXY_MARK = 0x539;
/** Connections that the proxy opened to the application. */
const INBOUND_MARK = 0x111;
const MARK_MASK = 0xfff;
const TABLE = 'halo';
const ROUTE_TABLE = 100;
const RULE_PREFERENCE = 32764;
const OUTBOUND_PORT = 15001;
const INBOUND_PORT = 15006;
const HBONE_PORT = 15008;
const DNS_PORT = 15053;
const PROBES_V4 = '169.254.7.127';
const PROBES_V6 = 'fd16:9254:7127:1337:ffff:ffff:ffff:ffff';
/** Only openings: what was open before goes on as it was, and is not torn from its peer. */
const OPENING = 'tcp flags & (fin | syn | rst | ack) == syn';
/** Linux: at most 15 bytes; what else it allows has no place in a rule. */
const INTERFACE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/;

/** Interfaces of a comma separated annotation; what is no interface name is left out. */
export function parseInterfaces(text: string): string[] {
  return text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => INTERFACE_NAME.test(name));
}

/**
 * The rules of a captured pod, as a file for `nft -f` that replaces whatever table of ours is there in one step. Marks
 * and exemptions are upstream's; live captured connections are not disturbed by it.
 *
 * @param how.onlyNew fails where a table of ours is there. It takes half the time: the kernel ends no earlier than its
 *   readers could have left a table that was deleted, even one that was empty.
 */
export function formatCaptureRules(
  options: CaptureOptions,
  how: Readonly<{ onlyNew?: boolean }> = {},
): string {
  const proxy = `meta mark & ${MARK_MASK} == ${PROXY_MARK}`;
  const notProxy = `meta mark & ${MARK_MASK} != ${PROXY_MARK}`;
  const fromProbes = [`ip saddr ${PROBES_V4} accept`, `ip6 saddr ${PROBES_V6} accept`];
  const toProbes = [`ip daddr ${PROBES_V4} accept`, `ip6 daddr ${PROBES_V6} accept`];
  const reroute = options.virtualInterfaces.map(
    (name) => `iifname "${name}" ${OPENING} redirect to :${OUTBOUND_PORT}`,
  );
  const inbound = options.inbound
    ? [
        ...fromProbes,
        'ip daddr 127.0.0.0/8 accept',
        'ip6 daddr ::1 accept',
        `tcp dport ${HBONE_PORT} accept`,
        `${OPENING} redirect to :${INBOUND_PORT}`,
      ]
    : [];
  const dns = options.dns
    ? [`meta l4proto { tcp, udp } oifname != "lo" th dport 53 redirect to :${DNS_PORT}`]
    : [];
  return [
    ...(how.onlyNew === true
      ? [`create table inet ${TABLE}`]
      : [`table inet ${TABLE}`, `delete table inet ${TABLE}`]),
    `table inet ${TABLE} {`,
    // The pod's query, sent on by the proxy under the same addresses, must not be the same entry of connection tracking.
    ...(options.dns
      ? [
          ...formatChain('raw_prerouting', 'filter hook prerouting priority raw', [
            `udp sport 53 ${notProxy} ct zone set 1`,
          ]),
          ...formatChain('raw_output', 'filter hook output priority raw', [
            `udp dport 53 ${proxy} ct zone set 1`,
          ]),
        ]
      : []),
    ...formatChain('mangle_prerouting', 'filter hook prerouting priority mangle', [
      `${proxy} ct mark set ct mark & 0xfffff000 | ${INBOUND_MARK}`,
    ]),
    ...formatChain('mangle_output', 'route hook output priority mangle', [
      `ct mark & ${MARK_MASK} == ${INBOUND_MARK} meta mark set ct mark`,
    ]),
    ...formatChain('nat_prerouting', 'nat hook prerouting priority dstnat', [
      'meta l4proto != tcp accept',
      `${proxy} accept`,
      ...reroute,
      ...inbound,
    ]),
    ...formatChain('nat_output', 'nat hook output priority -100', [
      `${proxy} accept`,
      ...dns,
      'meta l4proto != tcp accept',
      `meta mark & ${MARK_MASK} == ${INBOUND_MARK} accept`,
      ...toProbes,
      'oifname "lo" accept',
      `${OPENING} redirect to :${OUTBOUND_PORT}`,
    ]),
    '}',
    '',
  ].join('\n');
}

/** Puts rules in force that are given on its standard input. */
export const RULES_COMMAND: readonly string[] = ['nft', '-f', '-'];

/** Answers to a client's kept address find the way back to the proxy: what the rules mark stays on this host. */
export const ANSWERS: MarkedRoute = {
  ...{ mark: INBOUND_MARK, mask: MARK_MASK, preference: RULE_PREFERENCE, table: ROUTE_TABLE },
};

/** A script after which nothing new is captured; what is captured goes on. Without our table it does nothing. */
export const RELEASE_SCRIPT = `nft list table inet ${TABLE} > /dev/null 2>&1 || exit 0
nft "flush chain inet ${TABLE} nat_prerouting; flush chain inet ${TABLE} nat_output"`;

/** Rules that remove the table, where there is one; in force before the last captured connection has ended, they reset it. */
export const NO_RULES = `table inet ${TABLE}\ndelete table inet ${TABLE}\n`;

/** Whether connections of that port are between an application, or a peer, and the proxy. */
export function isProxyPort(port: number): boolean {
  return port === OUTBOUND_PORT || port === INBOUND_PORT || port === HBONE_PORT;
}

function formatChain(name: string, hook: string, rules: readonly string[]): string[] {
  return [
    `  chain ${name} {`,
    `    type ${hook}; policy accept;`,
    ...rules.map((rule) => `    ${rule}`),
    '  }',
  ];
}
