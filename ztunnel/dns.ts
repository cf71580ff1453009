import { parseIpAddress, type SocketAddress } from '../base/address.ts';
import { describeError, MeshError } from '../base/errors.ts';
import { answerMessage, type AnswerEvent, type AnswerParts } from '../mesh/dns/answer.ts';
import { DnsCache } from '../mesh/dns/cache.ts';
import { encodeUpstreamQuery } from '../mesh/dns/encode.ts';
import { Forwarder } from '../mesh/dns/forward.ts';
import { HostResolver } from '../mesh/dns/host-resolver.ts';
import type { DnsQuery } from '../mesh/dns/message.ts';
import type { DnsMetrics } from '../mesh/dns/metrics.ts';
import type { NameScope } from '../mesh/dns/names.ts';
import { DnsServer } from '../mesh/dns/server.ts';
import { resolverSockets } from '../mesh/dns/resolver-sockets.ts';
import type { Workload } from '../mesh/model/workload.ts';
import type { PodName, ProxyState } from '../mesh/proxy/state/store.ts';
import type { Logger } from '../mesh/runtime/log.ts';
import type { Netns } from '../net/netns.ts';
import { isAbsentAddress } from '../net/socket-address.ts';
import { listenTcp, TcpListener } from '../net/tcp-listener.ts';
import { openUdp, UdpSocket } from '../net/udp.ts';
import type { ZtunnelConfig } from './config.ts';
import { podSocketOptions } from './pod-socket-options.ts';
import type { HandedDns } from './thread-calls.ts';

export type DnsProxyParts = Readonly<{
  config: Pick<
    ZtunnelConfig,
    | 'clusterDomain'
    | 'dnsProxyAddress'
    | 'ipv6'
    | 'packetMark'
    | 'portReuse'
    | 'preferredServiceNamespace'
  >;
  state: Pick<ProxyState, 'localWorkload' | 'servicesByHost' | 'endpoints'>;
  /** Of the proxy's own node. */
  resolvers: readonly SocketAddress[];
  metrics: DnsMetrics;
  log: Logger;
}>;

export type DnsPod = PodName & Readonly<{ netns: Netns | undefined }>;

/** Resolves host names for a pod. */
export type PodNames = Pick<HostResolver, 'resolve'>;

/**
 * Answers the names of the mesh in every pod, and forwards what else is asked.
 *
 * One data thread does this for all pods: a name is asked for far less often than bytes move, each thread has the whole
 * state, and datagrams of one socket cannot be shared out between threads as connections are.
 */
export class DnsProxy {
  readonly #parts: DnsProxyParts;

  constructor(parts: DnsProxyParts) {
    this.#parts = parts;
  }

  /**
   * Serves a pod, on UDP and TCP, on the loopback addresses that its namespace has.
   *
   * @param handed the sockets that the node agent keeps; the server's from here on, in any case.
   * @throws {MeshError} the system's error where an address is taken; nothing is left open then.
   */
  serve(pod: DnsPod, handed: readonly HandedDns[] = []): PodDns {
    const { config } = this.#parts;
    const answers = this.#answersOf(pod);
    const opened = openSockets(config, pod, handed, (stream) => {
      server.serveStream(stream);
    });
    const server = new DnsServer(answers, opened.udp);
    return new PodDns(server, opened.tcp, config.portReuse || handed.length > 0);
  }

  /** Resolves what a client in the pod names to us instead of asking for it: with the answers that it would get. */
  names(pod: DnsPod): PodNames {
    const answers = this.#answersOf(pod);
    const ask = async (query: DnsQuery): Promise<Buffer> => {
      const answer = await answerMessage(answers, encodeUpstreamQuery(query, query.id), 'tcp');
      if (answer !== undefined) return answer;
      throw new MeshError('ERR_DNS_FORMAT', 'local', 'Cannot answer a query of our own');
    };
    return new HostResolver({ ask }, this.#parts.config);
  }

  #answersOf(pod: DnsPod): AnswerParts {
    const { config, state, resolvers } = this.#parts;
    const workload = (): Workload | undefined => state.localWorkload(pod);
    // Of this pod alone: what it can forge in its own namespace, no other pod may be told.
    const cache = new DnsCache();
    const sockets = resolverSockets(podSocketOptions(config, pod));
    return {
      lookup: state,
      scope: () => this.#scopeOf(workload()),
      forwarder: new Forwarder({ resolvers, sockets, cache }),
      onEvent: (event) => {
        this.#note(event, workload(), pod);
      },
    };
  }

  #scopeOf(workload: Workload | undefined): NameScope | undefined {
    if (workload === undefined) return undefined;
    const { clusterDomain, ipv6, preferredServiceNamespace } = this.#parts.config;
    return {
      ...{ clientNamespace: workload.namespace, network: workload.network, clusterDomain, ipv6 },
      preferredNamespace: preferredServiceNamespace,
    };
  }

  #note(
    event: AnswerEvent,
    client: Workload | undefined,
    pod: Readonly<{ name: string; namespace: string }>,
  ): void {
    const { metrics, log } = this.#parts;
    const { query, transport, outcome, durationMs, error } = event;
    if (query !== undefined) {
      metrics.request(query, transport, client);
      if (durationMs !== undefined)
        metrics.upstream(query, transport, client, { failed: outcome === 'failed', durationMs });
    }
    if (!log.isEnabled('debug')) return;
    log.debug('query', {
      'src.workload': pod.name,
      'src.namespace': pod.namespace,
      name: query?.question.name.text,
      type: query?.question.type,
      protocol: transport,
      outcome,
      duration: durationMs === undefined ? undefined : `${Math.round(durationMs)}ms`,
      error: error === undefined ? undefined : describeError(error),
    });
  }
}

/** The DNS of one pod. */
export class PodDns implements Disposable {
  readonly #server: DnsServer;
  readonly #listeners: readonly TcpListener[];
  readonly #shared: boolean;

  constructor(server: DnsServer, listeners: readonly TcpListener[], shared: boolean) {
    this.#server = server;
    this.#listeners = listeners;
    this.#shared = shared;
  }

  /**
   * For a proxy that is to end. Names go on being answered until it does, so that none is lost while the next proxy
   * starts; unless that one could not have the addresses then.
   */
  drain(): void {
    if (!this.#shared) this[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    for (const listener of this.#listeners) listener.close();
    this.#server[Symbol.dispose]();
  }
}

type OpenedSockets = Readonly<{ udp: readonly UdpSocket[]; tcp: readonly TcpListener[] }>;

function openSockets(
  config: DnsProxyParts['config'],
  pod: Pick<DnsPod, 'netns'>,
  handed: readonly HandedDns[],
  onStream: (stream: Parameters<DnsServer['serveStream']>[0]) => void,
): OpenedSockets {
  const { dnsProxyAddress, portReuse: reusePort } = config;
  const { ips, port } = dnsProxyAddress;
  const options = { ...podSocketOptions(config, pod), reusePort };
  using opened = new DisposableStack();
  const udp: UdpSocket[] = [];
  const tcp: TcpListener[] = [];
  for (const { udpFd, tcpFd } of handed) {
    udp.push(
      opened.adopt(new UdpSocket(udpFd), (each) => {
        each.close();
      }),
    );
    tcp.push(
      opened.adopt(new TcpListener({ fd: tcpFd, transparent: false }, {}, onStream), (each) => {
        each.close();
      }),
    );
  }
  for (const ip of ips.filter((each) => !handed.some((known) => known.ip === each))) {
    try {
      udp.push(
        opened.adopt(openUdp({ local: { ip, port }, ...options }), (each) => {
          each.close();
        }),
      );
      tcp.push(
        opened.adopt(listenTcp({ address: { ip, port }, ...options }, onStream), (each) => {
          each.close();
        }),
      );
    } catch (error) {
      // IPv6 is switched off in this namespace; an IPv4 loopback is always there.
      if (ip === V6_LOOPBACK && isAbsentAddress(error)) continue;
      throw error;
    }
  }
  opened.move();
  return { udp, tcp };
}

const V6_LOOPBACK = parseIpAddress('::1');
