import { parseIpAddress, socketAddress } from '../../base/address.ts';
import { CaClient } from '../../certs/ca-client.ts';
import { openTunnel, TunnelRefusedError } from '../../mesh/hbone/client.ts';
import { checkServer } from '../../mesh/hbone/peer.ts';
import { HboneSession, SESSION_MAX_RTO_MS } from '../../mesh/hbone/session.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import { Http2Connection } from '../../net/h2/connection.ts';
import { connectTcp, type TcpConnectOptions } from '../../net/tcp.ts';
import { connectTls } from '../../net/tls.ts';
import { TlsContext } from '../../net/tls-context.ts';
import type { LoadOperations } from './protocol.ts';

/** No pod has it, so the request is refused (400) and nothing is dialled for it. */
const NOWHERE = '192.0.2.1:9';
const CERTIFICATE_TTL_SECONDS = 3600;
/** All as it is by itself. */
const HTTP2 = {};

/** Asks the mesh's CA, as a node proxy does. */
export async function fetchCertificate(
  ask: LoadOperations['certificate']['ask'],
): Promise<WorkloadCertificate> {
  const { address, roots, token, identity } = ask;
  using client = new CaClient({
    ...{ address, roots, token, clusterId: 'Kubernetes' },
    ...{ ttlSeconds: CERTIFICATE_TTL_SECONDS, impersonate: true },
  });
  return await client.fetch(parseSpiffeId(identity));
}

/** New sessions, one after another in several lines: what this process uses for them is the client side of a session. */
export async function runHandshakes(
  ask: LoadOperations['handshakes']['ask'],
): Promise<LoadOperations['handshakes']['answer']> {
  using stack = new DisposableStack();
  const { certificates, groups } = ask;
  const open = ask.request ? openWithRequest : openAlone;
  const sources = ask.sources.map(parseIpAddress);
  const contexts = certificates.map((certificate) => stack.use(makeContext(certificate, groups)));
  const shakeAll = async (count: number): Promise<void> => {
    let left = count;
    const worker = async (): Promise<void> => {
      while (left-- > 0) {
        const context = contexts[left % contexts.length];
        const source = sources[left % sources.length];
        if (context === undefined || source === undefined)
          throw new Error('Cannot open sessions without a certificate and an address');
        await open(ask, context, { source: { ip: source, port: 0 } });
      }
    };
    await Promise.all(Array.from({ length: ask.parallel }, worker));
  };
  const [startMs, before] = [performance.now(), process.cpuUsage()];
  await shakeAll(ask.count);
  const { user, system } = process.cpuUsage(before);
  return { sessions: ask.count, ms: performance.now() - startMs, processorUs: user + system };
}

/** Sessions that stay. */
export class HeldSessions {
  readonly #open: HboneSession[] = [];

  async hold(ask: LoadOperations['holdSessions']['ask']): Promise<{ held: number }> {
    using context = makeContext(ask.certificate, ask.groups);
    for (let index = 0; index < ask.count; index++) {
      const session = await openSession(ask, context);
      this.#open.push(session);
      await refusedTunnel(session);
    }
    return { held: this.#open.length };
  }

  release(): number {
    const open = this.#open.splice(0);
    for (const session of open) session.close();
    return open.length;
  }
}

type SessionAsk = Readonly<{ host: string; port: number; peers: readonly string[] }>;

function makeContext(certificate: WorkloadCertificate, groups: string): TlsContext {
  const { chainPem, privateKeyPem, rootsPem } = certificate;
  return new TlsContext({ chainPem, privateKeyPem, rootsPem, groups });
}

async function openWithRequest(
  ask: SessionAsk,
  context: TlsContext,
  tcp: TcpConnectOptions,
): Promise<void> {
  const session = await openSession(ask, context, tcp);
  await refusedTunnel(session);
  session.close();
}

/** As HboneSession does it. The server's settings, its first bytes, prove that it has accepted the certificate. */
async function openAlone(
  ask: SessionAsk,
  context: TlsContext,
  tcp: TcpConnectOptions,
): Promise<void> {
  const options = { ...tcp, maxRtoMs: SESSION_MAX_RTO_MS };
  const below = await connectTcp(socketAddress(ask.host, ask.port), options);
  const tls = await connectTls(below, context);
  const check = checkServer(tls.peerCertificate, ask.peers.map(parseSpiffeId));
  if (check.kind === 'refused') {
    tls.reset();
    throw new Error(`Cannot accept the server: ${check.reason}`);
  }
  const settled = Promise.withResolvers<undefined>();
  const connection = Http2Connection.client(tls, HTTP2, {
    onAvailable() {
      settled.resolve(undefined);
    },
    onClose(error) {
      settled.reject(error ?? new Error('Cannot open a session: the server has ended it'));
    },
  });
  await settled.promise;
  connection.close();
}

function openSession(
  ask: SessionAsk,
  context: TlsContext,
  tcp: TcpConnectOptions = {},
): Promise<HboneSession> {
  const options = {
    context: () => Promise.resolve(context),
    ...{ peers: ask.peers.map(parseSpiffeId), http2: HTTP2 },
  };
  return HboneSession.open(socketAddress(ask.host, ask.port), tcp, options);
}

/** The answer proves that the server has accepted the certificate, and has done all that a session costs. */
async function refusedTunnel(session: HboneSession): Promise<void> {
  try {
    await openTunnel(session, { authority: NOWHERE, headers: [] });
  } catch (error) {
    if (error instanceof TunnelRefusedError) return;
    throw error;
  }
  throw new Error(`Cannot measure sessions: a tunnel to ${NOWHERE} was opened`);
}
