import { ipToBytes, parseIpAddress } from '../../base/address.ts';
import type { ServerNames } from './authority.ts';

/** The names under which proxies dial the control plane; istio/istio has the same but for the last two. */
export function serverNames(rootNamespace: string): ServerNames {
  const names = ['istiod', 'istiod-remote', 'istio-pilot'].map(
    (name) => `${name}.${rootNamespace}.svc`,
  );
  return {
    dnsNames: [...names, 'istiod-lite', 'localhost'],
    ips: ['127.0.0.1', '::1'].map((ip) => ipToBytes(parseIpAddress(ip))),
  };
}
