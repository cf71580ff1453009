import { MeshError } from '../../base/errors.ts';
import type { FailureFlag } from './connection-metrics.ts';
import { TunnelRefusedError } from '../hbone/client.ts';

const FLAGS: ReadonlyMap<string, FailureFlag> = new Map([
  ['ERR_POLICY', 'DENY'],
  ['ERR_TLS_HANDSHAKE', 'TLS_FAILURE'],
  ['ERR_TLS_TIMEOUT', 'TLS_FAILURE'],
  ['ERR_TLS', 'TLS_FAILURE'],
  ['ERR_HTTP2_CONNECTION', 'H2_HANDSHAKE_FAILURE'],
  ['ERR_NETWORK_POLICY', 'NETWORK_POLICY'],
  ['ERR_PEER_IDENTITY', 'IDENTITY_ERROR'],
  ['ERR_CERT_REVOKED', 'CERT_REVOKED'],
  ['ERR_CERTIFICATE_UNAVAILABLE', 'IDENTITY_ERROR'],
]);

/** The metric's word for why a connection failed; CONNECT for whatever has none of its own. */
export function failureFlag(error: unknown): FailureFlag {
  if (error instanceof TunnelRefusedError) return error.status === 401 ? 'DENY' : 'CONNECT';
  return (error instanceof MeshError ? FLAGS.get(error.code) : undefined) ?? 'CONNECT';
}
