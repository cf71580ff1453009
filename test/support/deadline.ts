/** The promise's outcome, or an error that says what did not happen in time. */
export async function withDeadline<Value>(
  promise: Promise<Value>,
  timeoutMs: number,
  what: string | (() => string),
): Promise<Value> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => {
    const text = typeof what === 'string' ? what : what();
    late.reject(new Error(`not within ${timeoutMs / 1000} s: ${text}`));
  }, timeoutMs);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
