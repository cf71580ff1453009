import {
  booleanSetting,
  readEnv,
  required,
  stringSetting,
  type Env,
  type SettingValues,
} from '../../mesh/runtime/env.ts';
import { logSettings } from '../../mesh/runtime/log.ts';

/** What the node agent reads from its environment. Names as istio-cni has them, where it has them. */
export const agentSettings = {
  ...logSettings,
  nodeName: required(
    stringSetting('NODE_NAME', {
      description: 'The node whose pods are enrolled',
      default: undefined,
    }),
  ),
  controlSocket: required(
    stringSetting('HALO_CONTROL_UDS', {
      description: "Unix socket of the sandbox's control API, where pods are watched",
      default: undefined,
    }),
  ),
  zdsSocket: stringSetting('ZDS_UDS', {
    description: 'Unix socket on which the proxy of this node learns its pods',
    default: '/var/run/ztunnel/ztunnel.sock',
  }),
  listenersSocket: stringSetting('HALO_LISTENERS_UDS', {
    description: "Unix socket on which the proxy is given its pods' listening sockets",
    default: '/var/run/ztunnel/listeners.sock',
  }),
  pluginSocket: stringSetting('PLUGIN_EVENT_UDS', {
    description: 'Unix socket on which a pod that is about to start is announced',
    default: '/var/run/istio-cni/pluginevent.sock',
  }),
  adminSocket: stringSetting('ADMIN_UDS', {
    description: 'Unix socket of the admin pages; none when empty',
    default: '',
  }),
  dnsCapture: booleanSetting('AMBIENT_DNS_CAPTURE', {
    description: "Whether pods' DNS goes through the proxy where they do not say",
    default: true,
  }),
  ipv6: booleanSetting('AMBIENT_IPV6', {
    description: 'Whether IPv6 is captured too',
    default: true,
  }),
} as const;

export type AgentConfig = SettingValues<typeof agentSettings>;

/** @throws {MeshError} ERR_ENV */
export function readAgentConfig(env: Env): AgentConfig {
  return readEnv(agentSettings, env);
}
