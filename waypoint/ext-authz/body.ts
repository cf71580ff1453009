import type { ExternalAuthorizer } from '../../mesh/model/http-policy.ts';
import { findHeader } from '../../net/h2/headers.ts';
import type { HttpRequest } from '../http-request.ts';
import type { LocalReply } from '../local-reply.ts';
import type { Verdict } from '../request-parts.ts';
import { UAEX } from '../response-flags.ts';
import type { AuthorizationQuestion } from './question.ts';

/** 60 s, as nginx client_body_timeout, but in all: what is held of a body that trickles is memory for its sender. */
const BODY_TIMEOUT_MS = 60_000;

const TOO_LATE: LocalReply = {
  ...{ status: 408, flags: UAEX, details: 'request_body_timeout', body: 'Request Timeout' },
};
const TOO_LARGE: LocalReply = {
  ...{ status: 413, flags: UAEX, details: 'request_payload_too_large', body: 'Payload Too Large' },
};

/**
 * Waits for as much of a body as authorizers are to be shown.
 *
 * @returns why it cannot be shown as they want it; `undefined` when it can, or need not.
 */
export async function holdBody(
  request: HttpRequest,
  authorizers: readonly ExternalAuthorizer[],
): Promise<Verdict> {
  let limitBytes = 0;
  for (const { maxRequestBytes, allowPartialMessage } of authorizers) {
    if (maxRequestBytes === 0) continue;
    if (!allowPartialMessage && promisedBytes(request) > maxRequestBytes) return TOO_LARGE;
    // One byte more tells whether that is all.
    const wanted = allowPartialMessage ? maxRequestBytes : maxRequestBytes + 1;
    limitBytes = Math.max(limitBytes, wanted);
  }
  // What comes behind the opening of another protocol is no body.
  if (limitBytes === 0 || request.ended || request.head.protocol !== '') return undefined;
  const timer = setTimeout(() => {
    request.answer(TOO_LATE);
  }, BODY_TIMEOUT_MS);
  await request.holdBody(limitBytes);
  clearTimeout(timer);
  if (request.over || request.status !== 0) return TOO_LATE; // it has its answer
  const failing = authorizers.find(({ maxRequestBytes }) => maxRequestBytes > 0);
  if (!request.heldBody.overflowed || failing === undefined) return undefined;
  const details = 'ext_authz_error';
  return { status: failing.statusOnError, flags: UAEX, details, body: '' };
}

/** What one authorizer is shown of what is held; `undefined` where it wants to see nothing, or there is nothing. */
export function shownBody(
  request: HttpRequest,
  { maxRequestBytes }: ExternalAuthorizer,
): AuthorizationQuestion['body'] {
  if (maxRequestBytes === 0 || request.head.protocol !== '') return undefined;
  const { bytes, isWhole } = request.heldBody;
  const isShort = bytes.length <= maxRequestBytes;
  return { bytes: bytes.subarray(0, maxRequestBytes), isWhole: isWhole && isShort };
}

function promisedBytes({ head }: HttpRequest): number {
  return Number(findHeader(head.list, 'content-length') ?? 0);
}
