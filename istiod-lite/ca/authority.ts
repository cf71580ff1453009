import { MeshError } from '../../base/errors.ts';
import { containsRoots, formatRoots } from '../../certs/bundle.ts';
import { issueServerCertificate, issueWorkloadCertificate } from '../../certs/issue.ts';
import { privateKeyPem, publicKeyDer, type KeyPair } from '../../certs/keys.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import type { CaMaterial } from './material.ts';

/** 30 days, cut to the CA's own life; istio/istio has 10 years, which is long for a key that somebody may have taken. */
export const SERVER_TTL_MS = 30 * 86_400_000;

/** The names under which clients dial a server. */
export type ServerNames = Readonly<{
  dnsNames: readonly string[];
  /** 4 or 16 bytes each. */
  ips: readonly Uint8Array[];
}>;

/** A private key with the chain that goes with it, for a TLS server. */
export type ServerCertificate = Readonly<{ privateKeyPem: string; chainPem: string }>;

/** Signs for the mesh with what it has now, and tells when the roots change. */
export class CertificateAuthority {
  #material: CaMaterial;
  readonly #subscribers = new Set<(rootsPem: string) => void>();
  readonly #materialSubscribers = new Set<() => void>();
  readonly #now: () => number;

  constructor(material: CaMaterial, now: () => number = Date.now) {
    this.#material = material;
    this.#now = now;
  }

  /** All roots of the mesh in one text. */
  get rootsPem(): string {
    return formatRoots(this.#material.rootsPem);
  }

  /** Milliseconds since the epoch: nothing that it signs lives longer. */
  get notAfterMs(): number {
    return this.#material.signer.notAfterMs;
  }

  /**
   * A certificate with its chain, as the CA service answers: the leaf, each intermediate, and last all roots in one text.
   *
   * @param publicKey DER of SubjectPublicKeyInfo, from parseCsr().
   */
  issue(identity: SpiffeId, publicKey: Uint8Array, ttlMs: number): string[] {
    const { signer, intermediatesPem } = this.#material;
    const nowMs = this.#now();
    if (signer.notAfterMs <= nowMs)
      throw new MeshError('ERR_CA', 'local', 'Cannot issue certificate: the CA has expired');
    const leaf = issueWorkloadCertificate(signer, { identity, publicKey, ttlMs, nowMs });
    return [leaf.pem, ...intermediatesPem, this.rootsPem];
  }

  /** The control plane's own certificate. */
  signServerCertificate(names: ServerNames, keys: KeyPair): ServerCertificate {
    const { signer, intermediatesPem } = this.#material;
    const publicKey = publicKeyDer(keys.publicKey);
    const request = { ...names, publicKey, ttlMs: SERVER_TTL_MS, nowMs: this.#now() };
    const { pem } = issueServerCertificate(signer, request);
    const chainPem = [pem, ...intermediatesPem].join('');
    return { privateKeyPem: privateKeyPem(keys.privateKey), chainPem };
  }

  /**
   * Signs with other material from now on. Roots may be added or dropped, not both at once: proxies that know only the
   * old ones, and those that know only the new ones, would refuse each other.
   *
   * @throws {MeshError} ERR_CA_ROTATION; what was there stays in force.
   */
  replace(material: CaMaterial): void {
    const [before, after] = [this.#material.rootsPem, material.rootsPem];
    if (!containsRoots(after, before) && !containsRoots(before, after))
      throw new MeshError(
        'ERR_CA_ROTATION',
        'local',
        'Cannot replace the roots: found others than before; add the new root to the old one first, ' +
          'then sign with it, then drop the old one',
      );
    const changed = !containsRoots(after, before) || !containsRoots(before, after);
    this.#material = material;
    for (const tell of this.#materialSubscribers) tell();
    if (changed) for (const publish of this.#subscribers) publish(this.rootsPem);
  }

  /** Calls `publish` now and whenever the roots change, until the answer is called. */
  subscribeRoots(publish: (rootsPem: string) => void): () => void {
    this.#subscribers.add(publish);
    publish(this.rootsPem);
    return () => {
      this.#subscribers.delete(publish);
    };
  }

  /** Calls `tell` whenever something else signs, or the roots change, until the answer is called. */
  subscribeMaterial(tell: () => void): () => void {
    this.#materialSubscribers.add(tell);
    return () => {
      this.#materialSubscribers.delete(tell);
    };
  }
}
