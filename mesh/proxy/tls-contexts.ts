import type { WorkloadCertificate } from '../model/certificate.ts';
import type { SpiffeId } from '../model/identity.ts';
import { TlsContext } from '../../net/tls-context.ts';

type Entry = Readonly<{ certificate: WorkloadCertificate; context: TlsContext }>;

export type TlsContextsOptions = Readonly<{
  /** Asks for the valid certificate of an identity; rejects with the reason when there is none. */
  fetch: (identity: SpiffeId) => Promise<WorkloadCertificate>;
  /** A certificate has taken another's place. */
  onRenewed: (identity: SpiffeId) => void;
  onKeyLog?: (line: string) => void;
  /** The only key exchanges, in OpenSSL's form; absent: those of TlsContext. */
  groups?: string;
  now?: () => number;
}>;

/** The TLS contexts of a thread: one for each identity's newest certificate. */
export class TlsContexts implements Disposable {
  readonly #entries = new Map<SpiffeId, Entry>();
  readonly #options: TlsContextsOptions;
  readonly #now: () => number;

  constructor(options: TlsContextsOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /**
   * The context of an identity. One that is here and valid is used at once, otherwise the certificate is waited for.
   *
   * @throws {MeshError} ERR_CERTIFICATE_UNAVAILABLE
   */
  async get(identity: SpiffeId): Promise<TlsContext> {
    return this.current(identity) ?? this.set(await this.#options.fetch(identity));
  }

  /**
   * The certificate of an identity, for a context of other settings. @throws {MeshError} ERR_CERTIFICATE_UNAVAILABLE
   */
  async certificate(identity: SpiffeId): Promise<WorkloadCertificate> {
    await this.get(identity);
    const entry = this.#entries.get(identity);
    return entry === undefined ? await this.#options.fetch(identity) : entry.certificate;
  }

  /** The context that is there now, if its certificate is valid. */
  current(identity: SpiffeId): TlsContext | undefined {
    const entry = this.#entries.get(identity);
    // After expiry nothing new is begun, in or out; what runs goes on.
    return entry && entry.certificate.notAfterMs > this.#now() ? entry.context : undefined;
  }

  /** Takes a certificate into use; sessions made with the one before go on. */
  set(certificate: WorkloadCertificate): TlsContext {
    const { identity } = certificate;
    const before = this.#entries.get(identity);
    if (before !== undefined && isSame(before.certificate, certificate)) return before.context;
    const { onKeyLog, groups } = this.#options;
    const context = new TlsContext({
      ...certificate,
      ...(onKeyLog && { onKeyLog }),
      ...(groups !== undefined && { groups }),
    });
    this.#entries.set(identity, { certificate, context });
    if (before !== undefined) {
      before.context.free();
      this.#options.onRenewed(identity);
    }
    return context;
  }

  /** When no pod of this node has the identity any more. */
  forget(identity: SpiffeId): void {
    this.#entries.get(identity)?.context.free();
    this.#entries.delete(identity);
  }

  [Symbol.dispose](): void {
    for (const identity of [...this.#entries.keys()]) this.forget(identity);
  }
}

function isSame(one: WorkloadCertificate, other: WorkloadCertificate): boolean {
  return (
    one.serialNumber === other.serialNumber && one.rootsPem.join('') === other.rootsPem.join('')
  );
}
