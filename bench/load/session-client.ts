import { parseIpAddress, socketAddress } from '../../base/address.ts';
import { CaClient } from '../../certs/ca-client.ts';
import { openTunnel, TunnelRefusedError } from '../../mesh/hbone/client.ts';
import { HboneSession } from '../../mesh/hbone/session.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import type { TcpConnectOptions } from '../../net/tcp.ts';
import { TlsContext } from '../../net/tls-context.ts';
import type { LoadOperations } from './protocol.ts';

/** No pod has it, so the request is refused (400) and nothing but the session is paid for. */
const NOWHERE = '192.0.2.1:9';
const CERTIFICATE_TTL_SECONDS = 3600;

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

/** New sessions, one request on each: what this process uses for them is the client side of a session. */
export async function runHandshakes(
  ask: LoadOperations['handshakes']['ask'],
): Promise<LoadOperations['handshakes']['answer']> {
  using stack = new DisposableStack();
  const { certificates, groups } = ask;
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
        const session = await openSession(ask, context, { source: { ip: source, port: 0 } });
        await refusedTunnel(session);
        session.close();
      }
    };
    await Promise.all(Array.from({ length: ask.parallel }, worker));
  };
  await shakeAll(ask.warm);
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

function openSession(
  ask: SessionAsk,
  context: TlsContext,
  tcp: TcpConnectOptions = {},
): Promise<HboneSession> {
  const options = {
    context: () => Promise.resolve(context),
    ...{ peers: ask.peers.map(parseSpiffeId), http2: {} },
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
