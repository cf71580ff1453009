import { experimental, type ServerCredentials } from '@grpc/grpc-js';
import { systemClock, type Clock } from '../../certs/clock.ts';
import { generateKeyPair, type KeyPair } from '../../certs/keys.ts';
import { renewalTimeMs } from '../../certs/renewal.ts';
import { SERVER_TTL_MS, type CertificateAuthority, type ServerNames } from './authority.ts';

/** The clock is looked at this often, because a machine sleeps and clocks are set; timers would not notice. */
const LOOK_MS = 3_600_000;

type IdentityListener = experimental.IdentityCertificateUpdateListener;

/** The control plane's own certificate, for as long as this is not disposed of. */
export type ServerIdentity = Disposable &
  Readonly<{
    credentials: ServerCredentials;
    /** When it is renewed though nothing else has changed. */
    renewalMs: () => number;
  }>;

/**
 * TLS for the control plane's gRPC server, with a certificate of its own CA that is replaced at half of its life and when
 * the CA signs with something else: a client that knows only the new root must find its way in, without a restart.
 * Connections that are open go on. Callers prove themselves by token, not by certificate.
 */
export async function followAuthority(
  authority: CertificateAuthority,
  names: ServerNames,
  options: Readonly<{ clock?: Clock; onTrouble?: (error: unknown) => void }> = {},
): Promise<ServerIdentity> {
  const source = new ServerCertificateSource(authority, names, await generateKeyPair(), options);
  return {
    // In spite of its parameters' names, grpc-js 1.14 takes the server's own certificate first, then the clients' CA.
    credentials: experimental.createCertificateProviderServerCredentials(source, null, false),
    renewalMs: () => source.renewalMs,
    [Symbol.dispose]: () => {
      source[Symbol.dispose]();
    },
  };
}

class ServerCertificateSource implements experimental.CertificateProvider, Disposable {
  readonly #authority: CertificateAuthority;
  readonly #names: ServerNames;
  readonly #keys: KeyPair;
  readonly #clock: Clock;
  readonly #onTrouble: (error: unknown) => void;
  readonly #listeners = new Set<IdentityListener>();
  readonly #unsubscribe: () => void;
  #current: experimental.IdentityCertificateUpdate | null = null;
  #cancel: () => void = () => undefined;
  renewalMs = 0;

  constructor(
    authority: CertificateAuthority,
    names: ServerNames,
    keys: KeyPair,
    options: Readonly<{ clock?: Clock; onTrouble?: (error: unknown) => void }>,
  ) {
    this.#authority = authority;
    this.#names = names;
    this.#keys = keys;
    this.#clock = options.clock ?? systemClock;
    this.#onTrouble = options.onTrouble ?? (() => undefined);
    this.#renew();
    this.#unsubscribe = authority.subscribeMaterial(() => {
      this.#tryRenew();
    });
    this.#look();
  }

  addIdentityCertificateListener(listener: IdentityListener): void {
    this.#listeners.add(listener);
    // grpc-js is ready to be told only after this call.
    queueMicrotask(() => {
      if (this.#listeners.has(listener)) listener(this.#current);
    });
  }

  removeIdentityCertificateListener(listener: IdentityListener): void {
    this.#listeners.delete(listener);
  }

  addCaCertificateListener(): void {
    return;
  }

  removeCaCertificateListener(): void {
    return;
  }

  [Symbol.dispose](): void {
    this.#cancel();
    this.#unsubscribe();
  }

  #look(): void {
    const nowMs = this.#clock.now();
    if (nowMs >= this.renewalMs) this.#tryRenew();
    const delayMs = Math.min(LOOK_MS, Math.max(1000, this.renewalMs - nowMs));
    this.#cancel = this.#clock.schedule(delayMs, () => {
      this.#look();
    });
  }

  /** A certificate that cannot be renewed serves on. */
  #tryRenew(): void {
    try {
      this.#renew();
    } catch (error) {
      this.#onTrouble(error);
    }
  }

  #renew(): void {
    const { privateKeyPem, chainPem } = this.#authority.signServerCertificate(
      this.#names,
      this.#keys,
    );
    const nowMs = this.#clock.now();
    const endMs = Math.min(nowMs + SERVER_TTL_MS, this.#authority.notAfterMs);
    this.renewalMs = renewalTimeMs(nowMs, endMs);
    this.#current = { certificate: Buffer.from(chainPem), privateKey: Buffer.from(privateKeyPem) };
    for (const listener of this.#listeners) listener(this.#current);
  }
}
