import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { getCACertificates } from 'node:tls';
import { describeError, MeshError } from '../../base/errors.ts';
import { perObject } from '../../base/per-object.ts';
import { checkServer } from '../../mesh/hbone/peer.ts';
import type { ListenerCertificate } from '../../mesh/model/gateway-listener.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import type { UpstreamTls } from '../../mesh/model/traffic-policy.ts';
import type { Workload } from '../../mesh/model/workload.ts';
import type { ByteStream } from '../../net/byte-stream.ts';
import { describeNames, hasName } from '../../net/certificate-names.ts';
import { connectTls, type TlsOptions } from '../../net/tls.ts';
import { TlsContext, type TlsContextOptions } from '../../net/tls-context.ts';
import type { TlsSession } from '../../net/tls-session.ts';
import { RecentlyUsed } from './recently-used.ts';
import { ServerRevocations } from './server-revocation.ts';

/** What is spoken inside; bytes of an application agree on it by themselves. */
export type InnerProtocol = 'HTTP/1.1' | 'HTTP/2' | 'bytes';

export type UpstreamTlsParts = Readonly<{
  /** The proxy's own, now valid. */
  ownCertificate: () => Promise<WorkloadCertificate>;
  /** PEM each: those that the machine trusts. */
  systemRoots?: () => readonly string[];
  /** What is shown where a policy names no certificate; `undefined`: none. */
  clientCertificate?: () => ListenerCertificate | undefined;
}>;

/** So many settings are in use at once; the contexts of others are made again. */
const MAX_CONTEXTS = 1024;

/** Equal for equal settings alone, and says nothing of the keys in them. */
export const tlsKey = perObject((tls: UpstreamTls): string =>
  digestOf(Object.entries(tls).sort(([a], [b]) => (a < b ? -1 : 1))),
);

/** The settings in words, with nothing of keys. */
export function describeTls(tls: UpstreamTls): string {
  const { mode, sni, subjectAltNames, roots, rootsFile, insecureSkipVerify } = tls;
  if (mode === 'mesh')
    return 'with our identity: the tunnel itself, or where there is none, TLS of its own';
  const source = roots === '' ? rootsFile || 'the roots of the system' : 'roots of the policy';
  return [
    mode === 'mutual' ? 'with a certificate of ours' : 'without a certificate of ours',
    ...(sni === '' ? [] : [`server ${sni}`]),
    insecureSkipVerify
      ? 'whoever answers is accepted'
      : `accepted as ${subjectAltNames.join(' or ')} by ${source}`,
    ...(namesLists(tls)
      ? [`not if on ${tls.revocationListsFile || 'the revocation lists of the policy'}`]
      : []),
  ].join(', ');
}

function namesLists({ revocationLists, revocationListsFile }: UpstreamTls): boolean {
  return revocationLists !== '' || revocationListsFile !== '';
}

/** Whether a session with the application is to be begun: where the mesh's own TLS is asked for, a tunnel is that. */
export function needsTls(
  tls: UpstreamTls | undefined,
  workload: Pick<Workload, 'tunnelProtocol'> | undefined,
): tls is UpstreamTls {
  return tls !== undefined && (tls.mode !== 'mesh' || workload?.tunnelProtocol !== 'HBONE');
}

function digestOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('base64url');
}

/** TLS with applications, by the thread's own contexts: one for each set of certificates, roots and protocols. */
export class UpstreamTlsClient implements Disposable {
  readonly #parts: UpstreamTlsParts;
  readonly #contexts = new RecentlyUsed<TlsContext>(MAX_CONTEXTS, (context) => {
    context.free();
  });
  readonly #revocations = new ServerRevocations();
  #roots: readonly string[] | undefined;

  constructor(parts: UpstreamTlsParts) {
    this.#parts = parts;
  }

  /**
   * Begins TLS on a connection, which belongs to the session from here on, and resolves when the server has proved what the
   * settings ask of it.
   *
   * @param peers whom a server may be that shows an identity of the mesh.
   * @throws {MeshError} as connectTls(); ERR_CERTIFICATE for files that cannot be used.
   */
  async connect(
    below: ByteStream,
    tls: UpstreamTls,
    inner: InnerProtocol,
    peers: readonly SpiffeId[],
    options: Pick<TlsOptions, 'signal' | 'timeoutMs'>,
  ): Promise<TlsSession> {
    let context: TlsContext;
    let lists: Buffer | undefined;
    try {
      if (namesLists(tls)) lists = await bytesOf(tls.revocationLists, tls.revocationListsFile);
      context = this.#context(await this.#optionsOf(tls, inner));
    } catch (error) {
      below.reset();
      throw error;
    }
    const session = await connectTls(below, context, { ...options, serverName: tls.sni });
    const refused =
      refusalOf(session, tls, peers) ??
      (lists && this.#revocations.refusalOf(session.peerChain(), lists));
    if (refused === undefined) return session;
    session.reset();
    const message = `Cannot agree on TLS with the peer: ${refused}`;
    throw new MeshError('ERR_TLS_HANDSHAKE', 'upstream', message);
  }

  /** Sessions go on. */
  [Symbol.dispose](): void {
    this.#contexts.clear();
  }

  async #optionsOf(tls: UpstreamTls, inner: InnerProtocol): Promise<TlsContextOptions> {
    const protocols = protocolsOf(inner);
    if (tls.mode === 'mesh') {
      const { chainPem, privateKeyPem, rootsPem } = await this.#parts.ownCertificate();
      return { ...protocols, chainPem, privateKeyPem, rootsPem };
    }
    const [roots, certificate, privateKeyPem] = await Promise.all([
      textOf(tls.roots, tls.rootsFile),
      textOf(tls.certificate, tls.certificateFile),
      textOf(tls.key, tls.keyFile),
    ]);
    const own = tls.mode === 'simple' ? this.#parts.clientCertificate?.() : undefined;
    const verifiesPeers = !tls.insecureSkipVerify;
    const trusted = roots === '' ? this.#systemRoots() : [roots];
    return {
      ...{ ...protocols, verifiesPeers, privateKeyPem: own?.keyPem ?? privateKeyPem },
      chainPem: certificatesIn(own?.chainPem ?? certificate),
      ...{ rootsPem: verifiesPeers ? trusted : [], minimumVersion: 'TLS 1.2' },
      acceptsPartialChains: true,
    };
  }

  /** Always the same list, which stands for itself in the key of a context. */
  #systemRoots(): readonly string[] {
    return (this.#roots ??= (this.#parts.systemRoots ?? (() => getCACertificates('system')))());
  }

  #context(options: TlsContextOptions): TlsContext {
    const isSystem = options.rootsPem === this.#roots;
    const key = digestOf(isSystem ? { ...options, rootsPem: 'system' } : options);
    return this.#contexts.get(key, () => new TlsContext(options));
  }
}

/** HTTP/2 inside of TLS has to be agreed on (RFC 9113 section 3.2); HTTP/1.1 is what is spoken where nothing is. */
function protocolsOf(inner: InnerProtocol): Pick<TlsContextOptions, 'alpn' | 'alpnOptional'> {
  switch (inner) {
    case 'HTTP/2':
      return { alpn: ['h2'] };
    case 'HTTP/1.1':
      return { alpn: ['http/1.1'], alpnOptional: true };
    case 'bytes':
      return { alpn: [] };
  }
}

async function textOf(text: string, file: string): Promise<string> {
  return file === '' ? text : (await bytesOf(text, file)).toString();
}

async function bytesOf(text: string, file: string): Promise<Buffer> {
  if (file === '') return Buffer.from(text);
  try {
    return await readFile(file);
  } catch (error) {
    throw new MeshError('ERR_CERTIFICATE', 'local', `Cannot read ${file}: ${describeError(error)}`);
  }
}

function certificatesIn(pem: string): readonly string[] {
  return pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
}

/** Why the server is not the one that is meant. */
function refusalOf(
  { peerCertificate }: TlsSession,
  { mode, subjectAltNames, insecureSkipVerify }: UpstreamTls,
  peers: readonly SpiffeId[],
): string | undefined {
  if (insecureSkipVerify) return undefined;
  if (mode === 'mesh') {
    const check = checkServer(peerCertificate, peers);
    return check.kind === 'accepted' ? undefined : check.reason;
  }
  if (subjectAltNames.some((name) => hasName(peerCertificate, name))) return undefined;
  const wanted = subjectAltNames.join(' or ');
  return `its certificate is of ${describeNames(peerCertificate)}, expected ${wanted}`;
}
