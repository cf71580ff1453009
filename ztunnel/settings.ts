import { checkPort, isLoopback, parseIpAddress, type IpAddress } from '../base/address.ts';
import { keepAliveSettings } from '../mesh/proxy/keep-alive.ts';
import {
  controlPlaneSettings,
  flag,
  hboneSettings,
  identitySettings,
  text,
} from '../mesh/proxy/settings.ts';
import * as env from '../mesh/runtime/env.ts';
import { logSettings } from '../mesh/runtime/log.ts';
import { modeSettings } from './mode-settings.ts';

/** Where the DNS proxy listens inside a pod. */
export type DnsProxyAddress = Readonly<{ ips: readonly IpAddress[]; port: number }>;

const LOCALHOST = ['127.0.0.1', '::1'].map(parseIpAddress);

const onDemand = {
  xdsOnDemand: flag(
    'XDS_ON_DEMAND',
    'Ask only for what connections need, instead of all; needs ISTIO_META_DNS_CAPTURE=false',
    false,
  ),
};

const sockets = {
  ipv6: flag('IPV6_ENABLED', 'Serve IPv6 too', true),
  packetMark: env.integerSetting('PACKET_MARK', {
    description: 'SO_MARK of every socket in a pod; unset: 1337, in dedicated mode none',
    ...{ default: undefined, min: 1, max: 2 ** 32 - 1 },
  }),
  originalSource: env.booleanSetting('ENABLE_ORIG_SRC', {
    description:
      "Keep the client's address towards the app; unset: where the kernel lets us and packets are marked",
    default: undefined,
  }),
  ...keepAliveSettings,
  zdsPath: text('INPOD_UDS', "The node agent's socket", '/var/run/ztunnel/ztunnel.sock'),
  listenersPath: text('LISTENER_UDS', 'Where the node agent hands over listening sockets'),
  portReuse: flag('INPOD_PORT_REUSE', 'SO_REUSEPORT on listeners in pods', true),
  socks5: flag('UNSTABLE_ENABLE_SOCKS5', 'Serve SOCKS5 in pods, on 127.0.0.1:15080', false),
  localhostAppTunnel: flag('LOCALHOST_APP_TUNNEL', 'Application tunnels end on localhost', true),
};

const telemetry = {
  responseBaggage: flag(
    'ENABLE_RESPONSE_BAGGAGE',
    'Tell clients who answered them, and read what peers say of themselves, for telemetry',
    true,
  ),
};

const dns = {
  dnsCapture: flag('ISTIO_META_DNS_CAPTURE', 'Serve DNS in pods', true),
  dnsProxyAddress: env.parsedSetting<DnsProxyAddress, DnsProxyAddress>(
    'ISTIO_META_DNS_PROXY_ADDR',
    {
      description: 'Where DNS is served in pods',
      ...{ default: { ips: LOCALHOST, port: 15053 }, defaultText: 'localhost:15053' },
      ...{ accepts: 'loopback address and port', parse: parseDnsProxyAddress },
    },
  ),
  preferredServiceNamespace: text(
    'PREFERED_SERVICE_NAMESPACE',
    'Namespace whose services win among those of one name',
  ),
};

const processSettings = {
  ...logSettings,
  dataThreads: env.parsedSetting<DataThreadCount, DataThreadCount>('ZTUNNEL_WORKER_THREADS', {
    description: 'Data threads; 0 for one a CPU (also DATA_THREADS)',
    ...{ default: { kind: 'unset' }, defaultText: '1' },
    ...{ accepts: 'number up to 256, or percentage of CPUs such as 50%', parse: parseThreadCount },
  }),
  terminationDeadlineMs: env.durationSetting('CONNECTION_TERMINATION_DEADLINE', {
    description: 'How long connections may go on after SIGTERM',
    default: undefined,
  }),
  terminationGraceSeconds: env.integerSetting('TERMINATION_GRACE_PERIOD_SECONDS', {
    ...{ description: 'Gives the deadline where that is not set', default: undefined },
    ...{ min: 1, max: 86_400 * 7 },
  }),
  logPolicyInfo: flag('AUTHZ_POLICY_INFO_LOGGING', 'Log policy decisions at info level', false),
  adminPath: text('ADMIN_UDS', 'Unix socket that serves the admin pages too'),
};

const unsupported = {
  proxy: not('ENABLE_PROXY', 'a node proxy without its proxy has no use', ['true', '1']),
  localXdsPath: not('LOCAL_XDS_PATH', 'the state comes from a control plane', []),
  localXds: not('LOCAL_XDS', 'the state comes from a control plane', []),
  fakeCa: not('FAKE_CA', 'certificates come from a CA', ['false', '0']),
  tls12: not('TLS12_ENABLED', 'only TLS 1.3 is spoken', ['false', '0']),
};

/** All of the node proxy's environment, in the order in which `--help` lists it. */
export const ztunnelSettings = {
  ...{ ...modeSettings, ...identitySettings, ...controlPlaneSettings, ...onDemand, ...sockets },
  ...{ ...hboneSettings, ...telemetry, ...dns },
  ...{ ...processSettings, ...unsupported },
};

/** `unset` leaves it to the proxy configuration. */
export type DataThreadCount = Readonly<
  { kind: 'unset' } | { kind: 'count'; count: number } | { kind: 'percent'; percent: number }
>;

function parseThreadCount(text: string): DataThreadCount | undefined {
  const [, digits, percent] = /^(\d{1,3})(%?)$/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  const value = Number(digits);
  if (percent === '%')
    return value > 0 && value <= 100 ? { kind: 'percent', percent: value } : undefined;
  return value <= 256 ? { kind: 'count', count: value } : undefined;
}

function parseDnsProxyAddress(text: string): DnsProxyAddress {
  const [, host = '', digits = ''] = /^(.+):(\d{1,5})$/.exec(text) ?? [];
  const port = checkPort(Number(digits));
  if (host === 'localhost') return { ips: LOCALHOST, port };
  const ip = parseIpAddress(host.replace(/^\[(.*)\]$/, '$1'));
  // Beyond the pod's loopback, anyone could ask in the pod's name.
  if (!isLoopback(ip)) throw new Error('only a loopback address is accepted');
  return { ips: [ip], port };
}

function not(name: string, reason: string, harmless: readonly string[]): env.Setting<undefined> {
  return env.unsupportedSetting(name, { reason, harmless });
}
