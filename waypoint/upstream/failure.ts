import { MeshError } from '../../base/errors.ts';
import { Http2ConnectionError, Http2StreamError, NO_ERROR } from '../../net/h2/errors.ts';
import { Http1Violation } from '../../net/http1/errors.ts';

/** Why a try got no complete response. */
export type UpstreamFailure =
  /** No connection: refused, timed out, TLS or the tunnel failed. Nothing was sent. */
  | 'connection-failure'
  /** The endpoint says that it did nothing with the request. */
  | 'refused'
  /** The endpoint reset it. */
  | 'remote-reset'
  /** The connection under it ended. */
  | 'connection-termination'
  /** What came is no HTTP. */
  | 'protocol-error'
  /** A circuit breaker is open. Nothing was sent. */
  | 'overflow'
  /** No response headers within the time of one try. */
  | 'per-try-timeout'
  /** It could not be sent as it is. */
  | 'local-reset';

/** What broke an exchange that had been opened. */
export function classifyFailure(error: unknown): UpstreamFailure {
  if (error instanceof Http2StreamError) {
    if (!error.processed) return 'refused';
    if (error.cause instanceof Http2ConnectionError)
      return error.cause.h2Code === NO_ERROR ? 'connection-termination' : 'protocol-error';
    if (error.resetByPeer) return 'remote-reset';
    return error.h2Code === NO_ERROR ? 'connection-termination' : 'protocol-error';
  }
  if (error instanceof MeshError) {
    if (error.side === 'local') return 'local-reset';
    if (error.cause instanceof Http1Violation) return 'protocol-error';
  }
  return 'connection-termination';
}

const TLS_CODES: readonly string[] = ['ERR_TLS', 'ERR_TLS_HANDSHAKE', 'ERR_TLS_TIMEOUT'];

/** What TLS with the endpoint ended with; '' when that was not the reason. */
export function tlsFailure(error: unknown): string {
  for (let cause = error; cause instanceof Error; cause = cause.cause)
    if (cause instanceof MeshError && TLS_CODES.includes(cause.code)) return cause.message;
  return '';
}

/** Words of Envoy's for the reason of a reset, which clients' tests and alerts read. */
export function describeFailure(failure: UpstreamFailure): string {
  switch (failure) {
    case 'connection-failure':
      return 'connection failure';
    case 'refused':
      return 'remote refused stream reset';
    case 'remote-reset':
      return 'remote reset';
    case 'connection-termination':
      return 'connection termination';
    case 'protocol-error':
      return 'protocol error';
    case 'overflow':
      return 'overflow';
    case 'per-try-timeout':
      return 'per try timeout';
    case 'local-reset':
      return 'local reset';
  }
}
