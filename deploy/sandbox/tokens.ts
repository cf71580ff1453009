import { exportJWK, generateKeyPair, SignJWT, type CryptoKey } from 'jose';
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { makeFolder, writeFileAtomic } from './files.ts';

export const TOKEN_ISSUER = 'https://halo.sandbox';
const AUDIENCE = 'istio-ca';
/** As Kubernetes projects ztunnel's token (43200 s). */
const LIFETIME_S = 12 * 3600;
/** Kubernetes renews at 80 % of the lifetime. */
const RENEW_AFTER_MS = LIFETIME_S * 0.8 * 1000;
/** The clock is looked at this often: a machine sleeps, its timers with it, and the token ends meanwhile. */
const LOOK_PERIOD_MS = 10_000;

export type TokenSubject = Readonly<{
  namespace: string;
  serviceAccount: string;
  pod: Readonly<{ name: string; uid: string }>;
  node: string;
}>;

/** A token in a file, which is written anew before the token ends until this is disposed of. */
export type KeptToken = Disposable & Readonly<{ path: string }>;

/** Signs service account tokens with a key of this sandbox, whose public half is in its key set file. */
export class TokenSigner {
  readonly #key: CryptoKey;
  readonly #keyId: string;
  readonly #timers = new Set<NodeJS.Timeout>();

  private constructor(key: CryptoKey, keyId: string) {
    this.#key = key;
    this.#keyId = keyId;
  }

  /** @param jwksPath where the key set is written. */
  static async create(jwksPath: string): Promise<TokenSigner> {
    const { publicKey, privateKey } = await generateKeyPair('ES256');
    const keyId = randomUUID();
    const key = { ...(await exportJWK(publicKey)), kid: keyId, alg: 'ES256', use: 'sig' };
    writeFileAtomic(jwksPath, JSON.stringify({ keys: [key] }), 0o644);
    return new TokenSigner(privateKey, keyId);
  }

  sign(subject: TokenSubject): Promise<string> {
    const { namespace, serviceAccount, pod, node } = subject;
    const claims = {
      'kubernetes.io': {
        namespace,
        serviceaccount: { name: serviceAccount },
        pod,
        node: { name: node },
      },
    };
    return new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', kid: this.#keyId })
      .setIssuer(TOKEN_ISSUER)
      .setSubject(`system:serviceaccount:${namespace}:${serviceAccount}`)
      .setAudience([AUDIENCE])
      .setIssuedAt()
      .setExpirationTime(`${LIFETIME_S}s`)
      .sign(this.#key);
  }

  /** Writes a token file, and again before the token ends, as long as this signer lasts. */
  async keepFile(folder: string, subject: TokenSubject): Promise<string> {
    const { path } = await this.keep(folder, subject);
    return path;
  }

  /** Writes a token file, and again before the token ends. */
  async keep(folder: string, subject: TokenSubject): Promise<KeptToken> {
    makeFolder(folder);
    const path = join(folder, 'token');
    let dueMs = 0;
    const write = async (): Promise<void> => {
      dueMs = Date.now() + RENEW_AFTER_MS;
      writeFileAtomic(path, await this.sign(subject));
    };
    await write();
    const timer = setInterval(() => {
      if (Date.now() >= dueMs) void write();
    }, LOOK_PERIOD_MS).unref();
    this.#timers.add(timer);
    return {
      path,
      [Symbol.dispose]: () => {
        clearInterval(timer);
        this.#timers.delete(timer);
      },
    };
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
  }
}
