import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';

/** Where a session lives. The texts are whatever names these things for as long as it lasts. */
export type Session = Readonly<{ backend: string; endpoint: string; expiresAtMs?: number }>;

/** AES-256-GCM. NIST SP 800-38D: a nonce of 96 bits, a tag of 128. */
const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
export const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Nothing that we make is longer; what a client made is not worth deciphering. */
const MAX_TOKEN_LENGTH = 1024;

const SEPARATOR = '\n';

/**
 * Tokens that clients bring back. Sealed, so that a client neither reads addresses out of them nor chooses an endpoint by
 * making one; and bound to the rule, so that no session is carried from one rule to another (GEP-1619).
 */
export class SessionTokens {
  readonly #key: Uint8Array;

  /** @param secret that all replicas of the waypoint have, at least 32 random bytes. */
  constructor(secret: Uint8Array) {
    if (secret.length < KEY_BYTES)
      throw new RangeError(`Cannot seal sessions: a secret of ${secret.length} bytes`);
    this.#key = new Uint8Array(hkdfSync('sha256', secret, '', 'halo session token', KEY_BYTES));
  }

  /** @param nonce NONCE_BYTES fresh random bytes. */
  seal(rule: string, session: Session, nonce: Uint8Array): string {
    const cipher = createCipheriv(CIPHER, this.#key, nonce);
    cipher.setAAD(Buffer.from(rule));
    const { backend, endpoint, expiresAtMs } = session;
    const text = [backend, endpoint, expiresAtMs ?? ''].join(SEPARATOR);
    const sealed = [nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()];
    return Buffer.concat(sealed).toString('base64url');
  }

  /** @returns `undefined` for what we have not sealed for that rule, or what has expired. */
  open(rule: string, token: string, nowMs: number): Session | undefined {
    if (token.length > MAX_TOKEN_LENGTH) return undefined;
    const bytes = Buffer.from(token, 'base64url');
    if (bytes.length < NONCE_BYTES + TAG_BYTES) return undefined;
    const decipher = createDecipheriv(CIPHER, this.#key, bytes.subarray(0, NONCE_BYTES), {
      authTagLength: TAG_BYTES,
    });
    decipher.setAAD(Buffer.from(rule));
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
    const text = decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES), undefined, 'utf8');
    try {
      return readSession(text + decipher.final('utf8'), nowMs);
    } catch {
      return undefined; // forged, of another rule, or of another secret
    }
  }
}

function readSession(text: string, nowMs: number): Session | undefined {
  const [backend = '', endpoint = '', expires = ''] = text.split(SEPARATOR);
  if (expires === '') return { backend, endpoint };
  const expiresAtMs = Number(expires);
  return nowMs < expiresAtMs ? { backend, endpoint, expiresAtMs } : undefined;
}
