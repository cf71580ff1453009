import type { HeaderList } from '../net/h2/headers.ts';
import { DPE, LR, NR, SI, UC, UF, UH, UO, UPE, UR, UT } from './response-flags.ts';
import { describeFailure, type UpstreamFailure } from './upstream/failure.ts';

/** A response that the waypoint gives itself. gRPC clients get its status translated. */
export type LocalReply = Readonly<{
  status: number;
  /** See response-flags.ts. */
  flags: number;
  /** For the access log: RESPONSE_CODE_DETAILS of Envoy. */
  details: string;
  body: string;
  headers?: HeaderList;
  /** In the place of the one that the HTTP status means. */
  grpcStatus?: number;
  /** The policy that decided, `<namespace>/<name>`. */
  policy?: string;
}>;

function reply(status: number, flags: number, details: string, body = ''): LocalReply {
  return { status, flags, details, body };
}

export const NO_ROUTE = reply(404, NR, 'route_not_found');
export const NO_HOST = reply(503, UH, 'no_healthy_upstream', 'no healthy upstream');
/** No backend with a weight, or an invalid one has this share. */
export const NO_BACKEND = reply(500, 0, 'direct_response');
export const REQUEST_TIMEOUT = reply(
  ...([504, UT, 'upstream_response_timeout', 'upstream request timeout'] as const),
);
const PER_TRY_TIMEOUT = reply(
  ...([504, UT, 'upstream_per_try_timeout', 'upstream request timeout'] as const),
);
/** Nothing moved while the request was still coming. */
export const IDLE_IN_REQUEST = reply(408, SI, 'stream_idle_timeout', 'stream timeout');
export const IDLE_AFTER_REQUEST = reply(504, SI, 'stream_idle_timeout', 'stream timeout');
export const UPGRADE_REFUSED = reply(403, 0, 'upgrade_failed');
/** TRACE would show a client what was added behind it. Attack S9. */
export const METHOD_REFUSED = reply(405, DPE, 'method_not_allowed');
export const BAD_PATH = reply(400, DPE, 'path_normalization_failed');
export const NO_TARGET = reply(400, DPE, 'missing_host_header');
/** A client of one listener speaks to another one by the same connection. RFC 9110 section 15.5.20. */
export const MISDIRECTED = reply(421, DPE, 'misdirected_request');
/** A pattern of the routes would have to look at more than it may cost. Attack A9. */
export const TOO_LONG_TO_MATCH = reply(431, DPE, 'request_too_long_for_patterns');
/** A fault of our own; its cause is in the log. */
export const INTERNAL = reply(500, LR, 'internal_error');

/** A second, the shortest that can be said: a place may be free at any moment. */
const OVERLOADED: HeaderList = ['x-envoy-overloaded', 'true', 'retry-after', '1'];

/** Adaptive concurrency lets no more in. The texts are Envoy's. */
export const CONCURRENCY_LIMIT: LocalReply = {
  ...reply(503, UO, 'reached_concurrency_limit', 'reached concurrency limit'),
  headers: OVERLOADED,
};

const FAILURES: ReadonlyMap<UpstreamFailure, readonly [number, number]> = new Map([
  ['connection-failure', [503, UF]],
  ['refused', [503, UR]],
  ['remote-reset', [503, UR]],
  ['connection-termination', [503, UC]],
  ['protocol-error', [502, UPE]],
  ['overflow', [503, UO]],
  ['local-reset', [503, LR]],
]);

/** Each made once. */
const failureReplies = new Map<UpstreamFailure, LocalReply>();

/**
 * What a client gets when the last try failed before it had a response.
 *
 * @param tlsFailure why TLS with the endpoint failed; the log has it, the client does not.
 */
export function failureReply(failure: UpstreamFailure, tlsFailure = ''): LocalReply {
  if (tlsFailure === '') return plainReply(failure);
  const words = `${describeFailure(failure)}|TLS_error: ${tlsFailure}`;
  return {
    ...plainReply(failure),
    details: `upstream_reset_before_response_started{${snake(words)}}`,
  };
}

function plainReply(failure: UpstreamFailure): LocalReply {
  if (failure === 'per-try-timeout') return PER_TRY_TIMEOUT;
  let found = failureReplies.get(failure);
  if (found === undefined) {
    const [status, flags] = FAILURES.get(failure) ?? [503, LR];
    const words = describeFailure(failure);
    found = {
      ...reply(status, flags, `upstream_reset_before_response_started{${snake(words)}}`),
      // The text is Envoy's, which clients and their tests look for.
      body: `upstream connect error or disconnect/reset before headers. reset reason: ${words}`,
      ...(failure === 'overflow' && { headers: OVERLOADED }),
    };
    failureReplies.set(failure, found);
  }
  return found;
}

/** Flags and details of a response that broke off. */
export function brokenResponse(failure: UpstreamFailure): Pick<LocalReply, 'flags' | 'details'> {
  const [, flags] = FAILURES.get(failure) ?? [503, LR];
  const words = snake(describeFailure(failure));
  return { flags, details: `upstream_reset_after_response_started{${words}}` };
}

function snake(words: string): string {
  return words.replaceAll(' ', '_');
}
