import { setImmediate as pause } from 'node:timers/promises';
import { describeError } from '../base/errors.ts';
import { DnsCache } from '../mesh/dns/cache.ts';
import { Forwarder } from '../mesh/dns/forward.ts';
import { HostResolver } from '../mesh/dns/host-resolver.ts';
import { readResolvers } from '../mesh/dns/resolv-conf.ts';
import { resolverSockets } from '../mesh/dns/resolver-sockets.ts';
import { SessionPool } from '../mesh/hbone/pool.ts';
import { makeSpiffeId, type SpiffeId, type TrustDomain } from '../mesh/model/identity.ts';
import { ConnectionMetrics } from '../mesh/proxy/connection-metrics.ts';
import { Connections } from '../mesh/proxy/connections.ts';
import { drained } from '../mesh/proxy/drain-threads.ts';
import { dumpState } from '../mesh/proxy/dump-state.ts';
import { keyLogTo } from '../mesh/proxy/key-log.ts';
import { HandshakeAdmission } from '../mesh/proxy/handshake-admission.ts';
import { InboundSessions } from '../mesh/proxy/inbound-sessions.ts';
import { applyDelta } from '../mesh/proxy/state/apply.ts';
import { deltaOf } from '../mesh/proxy/state/decode.ts';
import { ProxyState } from '../mesh/proxy/state/store.ts';
import { StateWaiters } from '../mesh/proxy/state/waiters.ts';
import { TlsContexts } from '../mesh/proxy/tls-contexts.ts';
import { dataThreadStart, openDataThread } from '../mesh/runtime/data-thread.ts';
import { openLog } from '../mesh/runtime/log.ts';
import { watchLoop } from '../mesh/runtime/loop-watchdog.ts';
import { Metrics } from '../mesh/runtime/metrics.ts';
import { HeapSampling, profileCpu } from '../mesh/runtime/profile.ts';
import { releaseAfterFloods } from '../mesh/runtime/release-after-floods.ts';
import { closeReactor, setFaultHandler } from '../net/reactor.ts';
import type { TcpListener } from '../net/tcp-listener.ts';
import { POST_QUANTUM_GROUPS } from '../net/tls-context.ts';
import { listenForTunnels } from './listener.ts';
import type { WaypointParts } from './parts.ts';
import type {
  ControlCalls,
  DataThreadCalls,
  DataThreadSettings,
  XdsDelta,
} from './thread-calls.ts';

/* The entry of a data thread: it holds the decoded state and every connection; the control thread tells it what changes. */

const { index, settings } = dataThreadStart();
const { config, logFormat, logLevels } = settings as DataThreadSettings;
const log = openLog({ format: logFormat, levels: logLevels });
const logger = log.scope('waypoint');
const metrics = new Metrics();
const state = new ProxyState();
const waiters = new StateWaiters();
const connections = new Connections();
const pool = new SessionPool({ idleMs: config.poolIdleMs });
const sessions = new InboundSessions();
const heap = new HeapSampling();
const gone = new AbortController();
let listener: TcpListener | undefined;
const _watchdog = watchLoop({ metrics, thread: `data-${index}`, logger });
const _release = releaseAfterFloods();

setFaultHandler((error) => {
  // A fault of ours in one connection must not end the others.
  logger.error('internal error', { error: describeError(error) });
});

const { podName: name, podNamespace: namespace, serviceAccount, trustDomain } = config;
const identity = makeSpiffeId({ trustDomain, namespace, serviceAccount });
const hosts = new HostResolver(
  new Forwarder({
    resolvers: readResolvers(),
    ...{ sockets: resolverSockets(), cache: new DnsCache() },
  }),
  config,
);
const http2 = {
  streamWindowBytes: config.streamWindowBytes,
  connectionWindowBytes: config.connectionWindowBytes,
  maxFrameBytes: config.frameBytes,
};
const parts: WaypointParts = {
  ...{ state, waiters, connections, pool, gone: gone.signal, network: config.network },
  self: { name, namespace, serviceAccount, identity },
  contexts: new TlsContexts({
    fetch: (asked: SpiffeId) => link.call('certificate', { identity: asked }),
    onRenewed: (renewed) => {
      pool.retireIdentity(renewed);
    },
    ...keyLogTo(config.keyLogFile, logger),
    ...(config.compliancePolicy === 'pqc' && { groups: POST_QUANTUM_GROUPS }),
  }),
  metrics: new ConnectionMetrics(metrics),
  accessLog: log.scope('access'),
  log: logger,
  handshakes: new HandshakeAdmission(metrics),
  trustDomains: new Set<TrustDomain>([trustDomain, ...config.trustDomainAliases]),
  clientHttp2: { ...http2, maxStreams: config.poolMaxStreams },
  serverHttp2: http2,
  resolveHostname: (hostname) => hosts.resolve(hostname),
};

const socketsOpen = metrics.gauge('istio_tcp_sockets_open', 'TCP connections that are open', {
  labelNames: ['reporter'],
});
metrics.onCollect(() => {
  for (const connection of connections.all()) connection.updateMetrics();
  socketsOpen.cell('waypoint').value = connections.size;
});

const link = openDataThread<DataThreadCalls, ControlCalls>({
  handlers: {
    applyXds,
    listen({ fd }) {
      listener = listenForTunnels(parts, sessions, fd);
      return null;
    },
    certificate(certificate) {
      if (certificate.identity === identity) parts.contexts.set(certificate);
      return null;
    },
    metrics: () => metrics.snapshot(),
    connections: () => connections.size,
    dump: () => dumpState(state),
    logLevels(levels) {
      log.setLevels(levels);
      return null;
    },
    cpuProfile: profileCpu,
    async heapSampling({ active }) {
      await heap.activate(active);
      return null;
    },
    heapProfile: async () => (await heap.profile()) ?? null,
    async drain() {
      listener?.close();
      sessions.drain();
      await Promise.all([connections.whenIdle(), sessions.whenIdle()]);
      return null;
    },
    forceClose() {
      connections.cutAll(drained());
      return null;
    },
  },
  onStop() {
    connections.cutAll(drained());
    listener?.close();
    gone.abort(drained());
    pool[Symbol.dispose]();
    parts.contexts[Symbol.dispose]();
    closeReactor();
    log.flush();
  },
  onNotifyError(error, call) {
    logger.error('internal error', { call, error: describeError(error) });
  },
});

async function applyXds({
  typeUrl,
  resources,
  removed,
}: XdsDelta): Promise<DataThreadCalls['applyXds']['response']> {
  const delta = deltaOf(typeUrl, resources, removed);
  if (delta === undefined) return [];
  const { changed, rejected } = await applyDelta(state, delta, pause);
  waiters.announce();
  if (changed.policies.size + changed.workloads.size + changed.services.size > 0)
    await connections.recheck(pause);
  return rejected;
}
