import { closeSync } from 'node:fs';
import { parseIpAddress } from '../base/address.ts';
import { describeError } from '../base/errors.ts';
import type { CertificateManager } from '../certs/manager.ts';
import { makeSpiffeId } from '../mesh/model/identity.ts';
import { HBONE_PORT } from '../mesh/model/ports.ts';
import type { DataThreads } from '../mesh/runtime/data-threads.ts';
import type { Logger } from '../mesh/runtime/log.ts';
import { duplicate } from '../net/descriptor.ts';
import { bindListener } from '../net/tcp.ts';
import type { ZtunnelConfig } from './config.ts';
import type { ControlCalls, DataThreadCalls } from './thread-calls.ts';

export type ServeSelfParts = Readonly<{
  config: ZtunnelConfig;
  threads: DataThreads<ControlCalls, DataThreadCalls>;
  certificates: CertificateManager;
  logger: Logger;
}>;

/**
 * Puts a tunnel listener in front of this proxy's own metrics, in its own namespace, where it knows which pod it is:
 * a Prometheus of the mesh reads them over mTLS. Without it they are read in plain text, so a failure is only told.
 */
export async function serveSelf(parts: ServeSelfParts): Promise<void> {
  const { config, threads, certificates, logger } = parts;
  const { podName: name, podNamespace: namespace, serviceAccount, statsPort, trustDomain } = config;
  if (name === '' || namespace === '' || serviceAccount === '') return;
  try {
    certificates.hold(makeSpiffeId({ trustDomain, namespace, serviceAccount }));
    const ip = parseIpAddress(config.ipv6 ? '::' : '0.0.0.0');
    const { fd } = bindListener({ address: { ip, port: HBONE_PORT }, reusePort: config.portReuse });
    try {
      for (let index = 0; index < threads.count; index++) {
        const hbone = { fd: duplicate(fd), transparent: false, kept: false };
        const handover = { name, namespace, serviceAccount, hbone, statsPort };
        await threads.link(index).call('serveSelf', handover);
      }
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    logger.warn('cannot serve own metrics over mTLS', { error: describeError(error) });
  }
}
