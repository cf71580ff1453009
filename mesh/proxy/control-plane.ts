import { describeError, MeshError } from '../../base/errors.ts';
import { CaClient } from '../../certs/ca-client.ts';
import type { CertificateManager } from '../../certs/manager.ts';
import type { SettingValues } from '../runtime/env.ts';
import type { Logger } from '../runtime/log.ts';
import type { Metrics } from '../runtime/metrics.ts';
import type { DeltaClient, DeltaClientEvent } from '../xds/delta-client.ts';
import type { controlPlaneSettings, identitySettings, ServerAddress } from './settings.ts';

type Config = Readonly<
  SettingValues<typeof controlPlaneSettings> &
    Pick<SettingValues<typeof identitySettings>, 'clusterId'>
>;

/**
 * A client of the CA.
 *
 * @param options `impersonate`: certificates are asked for in the names of others, as a node's proxy does.
 */
export function openCaClient(
  config: Config,
  { impersonate }: Readonly<{ impersonate: boolean }>,
): CaClient {
  return new CaClient({
    address: formatAddress(config.caAddress, 'CA_ADDRESS'),
    roots: config.caRootCa,
    ...(config.caServerName !== undefined && { serverName: config.caServerName }),
    token: config.authToken,
    clusterId: config.clusterId,
    headers: config.caHeaders,
    ttlSeconds: Math.round(config.certificateTtlMs / 1000),
    impersonate,
  });
}

/** Where the xDS client finds the control plane, and how it proves who it is. */
export function xdsServer(
  config: Config,
): Pick<ConstructorParameters<typeof DeltaClient>[0], 'controlPlane' | 'roots'> {
  return {
    controlPlane: {
      address: formatAddress(config.xdsAddress, 'XDS_ADDRESS'),
      ...(config.xdsServerName !== undefined && { serverName: config.xdsServerName }),
      token: config.authToken,
      clusterId: config.clusterId,
      headers: config.xdsHeaders,
    },
    roots: config.xdsRootCa,
  };
}

/** What a proxy does about the events of its stream: counts them, tells of trouble, and comes back to the CA too. */
export function followStream(
  parts: Readonly<{
    caClient: CaClient;
    certificates: CertificateManager;
    logger: Logger;
    count: (event: DeltaClientEvent) => void;
    onConnected?: () => void;
  }>,
): (event: DeltaClientEvent) => void {
  const { caClient, certificates, logger, count, onConnected } = parts;
  return (event) => {
    count(event);
    if (event.kind === 'connected') {
      onConnected?.();
      caClient.reconnect();
      certificates.retryFailed();
    }
    if (event.kind === 'terminated' && event.error !== undefined)
      logger.warn('the control plane is away', {
        error: describeError(event.error),
        retry: `${Math.round(event.retryInMs)}ms`,
      });
    if (event.kind === 'rejected')
      for (const { name, reason } of event.rejections)
        logger.error('resource refused, its last good version stays', { name, error: reason });
  };
}

/** Counts what the stream does, under Istio's names. */
export function countStreamEvents(metrics: Metrics): (event: DeltaClientEvent) => void {
  const byUrl = { labelNames: ['url'] };
  const messages = metrics.counter('istio_xds_message_total', 'xDS messages received', byUrl);
  const bytes = metrics.counter('istio_xds_message_bytes_total', 'xDS bytes received', byUrl);
  const terminations = metrics.counter(
    'istio_xds_connection_terminations_total',
    'xDS streams that ended',
    { labelNames: ['reason'] },
  );
  return (event) => {
    if (event.kind === 'message') {
      messages.cell(event.typeUrl).value++;
      bytes.cell(event.typeUrl).value += event.bytes;
    } else if (event.kind === 'terminated') terminations.cell(event.reason).value++;
  };
}

/** For the admin page. */
export function describeXds(xds: DeltaClient): {
  connected: boolean;
  resources: Record<string, number>;
  demanded: number;
  lastError: string | null;
} {
  const { connected, resources, demanded, lastError } = xds.status;
  return {
    ...{ connected, demanded, resources: Object.fromEntries(resources) },
    lastError: lastError ?? null,
  };
}

function formatAddress(server: ServerAddress | undefined, variable: string): string {
  if (server === undefined)
    throw new MeshError(
      'ERR_ENV',
      'local',
      `Cannot start: ${variable} is empty, and nothing else says where the control plane is`,
    );
  const { host, port } = server;
  return `https://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
