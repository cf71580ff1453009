/**
 * Who ended it: the one who dialled us, the one whom we dial, or ourselves.
 * It decides the status, the metric label and whether a retry is safe.
 */
export type Side = 'downstream' | 'upstream' | 'local';

/** An error with a stable code, which tests and callers compare; the message is for people. */
export class MeshError extends Error {
  override readonly name = 'MeshError';
  readonly code: string;
  readonly side: Side;

  /**
   * @param code stable, `ERR_` and upper case.
   * @param message "Cannot <do> <what>: <what was found>", no final period, never a key or a token.
   */
  constructor(code: string, side: Side, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.side = side;
  }
}

/**
 * The text of whatever was thrown, with the texts of its causes behind it. Of a cause that is an object and no error nothing is
 * said: some libraries put values there, such as the claims of a token.
 */
export function describeError(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const { cause } = thrown;
  const isValue = typeof cause === 'object' && !(cause instanceof Error);
  return cause === undefined || isValue
    ? thrown.message
    : `${thrown.message}: ${describeError(cause)}`;
}

/** The code of whatever was thrown, such as ENOENT or ours; `undefined` where it has none. */
export function errorCode(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error) || !('code' in thrown)) return undefined;
  return typeof thrown.code === 'string' ? thrown.code : undefined;
}
