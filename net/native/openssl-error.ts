import { MeshError } from '../../base/errors.ts';
import { nativeText } from './memory.ts';
import { openssl } from './openssl-library.ts';

/** X509_V_OK */
const VERIFIED = 0n;

/**
 * Takes the thread's queue of errors, which must be empty before the next call that is judged by it.
 *
 * @returns the reason of the first one, such as "wrong version number"; '' when there was none.
 */
export function takeErrorReason(): string {
  let reason = '';
  for (let code = openssl.ERR_get_error(); code !== 0n; code = openssl.ERR_get_error())
    if (reason === '') reason = nativeText(openssl.ERR_reason_error_string(code));
  return reason;
}

/**
 * A pointer that OpenSSL gave, which must not be NULL: mostly for want of memory. Using NULL would end the process.
 *
 * @throws {MeshError} ERR_OPENSSL: "Cannot <action>: <reason>".
 */
export function checkPointer(address: bigint, action: string): bigint {
  if (address !== 0n) return address;
  const reason = takeErrorReason();
  const message = `Cannot ${action}: ${reason === '' ? 'OpenSSL gave nothing' : reason}`;
  throw new MeshError('ERR_OPENSSL', 'local', message);
}

/** Why the peer's chain was refused, such as "certificate has expired"; `undefined` when it was accepted. */
export function verificationProblem(ssl: bigint): string | undefined {
  const result = openssl.SSL_get_verify_result(ssl);
  return result === VERIFIED
    ? undefined
    : nativeText(openssl.X509_verify_cert_error_string(result));
}
