import { MeshError } from '../base/errors.ts';
import type { WorkloadCertificate } from '../mesh/model/certificate.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import {
  ControlPlane,
  createCertificate,
  readRoots,
  type ControlPlaneOptions,
} from '../mesh/proto/grpc.ts';
import { parseRoots } from './bundle.ts';
import { MAX_INTERMEDIATES, checkChain } from './chain.ts';
import { makeCsr } from './csr.ts';
import {
  generateKeyPair,
  privateKeyPem,
  publicKeyDer,
  type KeyKind,
  type KeyPair,
} from './keys.ts';
import { Oid } from './oids.ts';
import { formatPem, parsePem, splitCertificates } from './pem.ts';
import { certificateIdentity } from './x509.ts';

/** A connection that is younger is given its time; one that does not stand after it may be waiting for a back-off. */
const CONNECTING_MS = 1_000;
/** From the call to the answer; a CA that is busier than this is asked again later. */
const FETCH_TIMEOUT_MS = 10_000;

export type CaClientOptions = Readonly<
  Omit<ControlPlaneOptions, 'rootsPem'> & {
    /** PEM itself, `SYSTEM`, or a path; read for every request, so that new roots need no restart. */
    roots: string;
    ttlSeconds: number;
    /** True for a node proxy, which asks on behalf of its pods; false for a program that asks for itself. */
    impersonate: boolean;
    keyKind?: KeyKind;
    now?: () => number;
  }
>;

/** Gets certificates from the CA, on one connection. */
export class CaClient implements Disposable {
  readonly #options: CaClientOptions;
  readonly #now: () => number;
  #open: Readonly<{ rootsPem: string; controlPlane: ControlPlane; sinceMs: number }> | undefined;

  constructor(options: CaClientOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  /**
   * One new key, one request, one certificate that is right in every respect.
   *
   * @throws {MeshError} ERR_CA_REFUSED, ERR_CA_UNAVAILABLE, or ERR_CA_ANSWER for a chain that we cannot use.
   */
  async fetch(
    identity: SpiffeId,
    options: Readonly<{ signal?: AbortSignal }> = {},
  ): Promise<WorkloadCertificate> {
    const controlPlane = await this.#connection();
    const keys = await generateKeyPair(this.#options.keyKind);
    const { certChain } = await createCertificate(
      controlPlane,
      {
        csr: makeCsr(identity, keys),
        validityDuration: BigInt(Math.floor(this.#options.ttlSeconds)),
        metadata: this.#options.impersonate ? { ImpersonatedIdentity: identity } : undefined,
      },
      { ...options, timeoutMs: FETCH_TIMEOUT_MS },
    );
    return acceptChain(certChain, identity, keys, this.#now());
  }

  /** Begins to connect, so that the first request need not wait for it. Never rejects: that request tells what is wrong. */
  async connect(): Promise<void> {
    try {
      await (await this.#connection()).connect();
    } catch {
      // Roots that cannot be read yet, or nobody who answers.
    }
  }

  /** Forgets a connection that does not stand, and with it how long gRPC would wait before it tries again. */
  reconnect(): void {
    if (this.#open === undefined) return;
    const { controlPlane, sinceMs } = this.#open;
    if (!controlPlane.connected && performance.now() - sinceMs > CONNECTING_MS)
      this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.#open?.controlPlane[Symbol.dispose]();
    this.#open = undefined;
  }

  async #connection(): Promise<ControlPlane> {
    const rootsPem = await readRoots(this.#options.roots);
    if (this.#open?.rootsPem === rootsPem) return this.#open.controlPlane;
    const controlPlane = new ControlPlane({ ...this.#options, rootsPem });
    this.#open?.controlPlane[Symbol.dispose]();
    this.#open = { rootsPem, controlPlane, sinceMs: performance.now() };
    return controlPlane;
  }
}

/**
 * Makes a certificate of the CA's answer: first the leaf, then intermediates, last all roots in one text. The leaf must
 * have exactly the identity that we asked for, our key, and both ends of TLS as its purpose, and the chain must hold.
 *
 * @throws {MeshError} ERR_CA_ANSWER
 */
export function acceptChain(
  certChain: readonly string[],
  identity: SpiffeId,
  keys: KeyPair,
  nowMs: number,
): WorkloadCertificate {
  try {
    const [leafText = '', ...rest] = certChain;
    const rootsText = rest.pop();
    if (rootsText === undefined) throw answerError('no roots behind the certificate');
    const rootsPem = parseRoots(rootsText);
    const [leafDer = Buffer.alloc(0)] = parsePem(leafText, 'CERTIFICATE', 1);
    // Some CAs repeat the root among the intermediates; peers have it already.
    const intermediates = rest
      .flatMap((text) => splitCertificates(text, MAX_INTERMEDIATES + 1))
      .filter((pem) => !rootsPem.includes(pem));
    const chainPem = [formatPem('CERTIFICATE', leafDer), ...intermediates];
    const leaf = checkChain(chainPem, rootsPem, nowMs);
    const found = certificateIdentity(leaf);
    if (found !== identity) throw answerError(`the identity ${found}`);
    if (!leaf.publicKey.equals(publicKeyDer(keys.publicKey))) throw answerError('another key');
    for (const purpose of [Oid.serverAuth, Oid.clientAuth])
      if (leaf.extKeyUsage?.has(purpose) !== true) throw answerError(`no purpose ${purpose}`);
    return {
      identity,
      privateKeyPem: privateKeyPem(keys.privateKey),
      chainPem,
      rootsPem,
      serialNumber: leaf.serialNumber,
      notBeforeMs: leaf.notBeforeMs,
      notAfterMs: leaf.notAfterMs,
    };
  } catch (cause) {
    const message = `Cannot use the CA's answer for ${identity}`;
    throw new MeshError('ERR_CA_ANSWER', 'upstream', message, { cause });
  }
}

function answerError(found: string): MeshError {
  return new MeshError('ERR_CA_ANSWER', 'upstream', `found ${found}`);
}
