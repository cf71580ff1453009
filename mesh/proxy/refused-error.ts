import { MeshError } from '../../base/errors.ts';

/**
 * 400: not a request for this proxy. 401: not permitted, and no other endpoint should be tried. 503: this proxy cannot serve
 * it now.
 */
export type RefusalStatus = 400 | 401 | 503;

/** A connection that was not admitted. It has no stack: that would cost more than the decision, and says nothing of why. */
export class RefusedError extends MeshError {
  readonly status: RefusalStatus;

  constructor(status: RefusalStatus, reason: string) {
    const [code, message] =
      status === 401
        ? ['ERR_POLICY', `connection closed due to policy rejection: ${reason}`]
        : ['ERR_REFUSED', `Cannot serve the connection: ${reason}`];
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(code, status === 503 ? 'local' : 'downstream', message);
    Error.stackTraceLimit = stackTraceLimit;
    this.status = status;
  }
}

/** What a tunnel that failed is answered with. A change of policy may have come between the decision and the failure. */
export function refusalStatus(signal: AbortSignal, error: unknown): RefusalStatus {
  if (error instanceof RefusedError) return error.status;
  const reason: unknown = signal.reason;
  return reason instanceof MeshError && reason.code === 'ERR_POLICY' ? 401 : 503;
}
