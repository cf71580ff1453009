import { setImmediate as pause } from 'node:timers/promises';
import { describeError } from '../base/errors.ts';
import { systemClock } from '../certs/clock.ts';
import { DnsCache } from '../mesh/dns/cache.ts';
import { Forwarder } from '../mesh/dns/forward.ts';
import { HostResolver } from '../mesh/dns/host-resolver.ts';
import { readResolvers } from '../mesh/dns/resolv-conf.ts';
import { resolverSockets } from '../mesh/dns/resolver-sockets.ts';
import { SessionPool } from '../mesh/hbone/pool.ts';
import { makeSpiffeId, type SpiffeId, type TrustDomain } from '../mesh/model/identity.ts';
import { gatewayTarget } from '../mesh/model/target-security.ts';
import { ConnectionMetrics } from '../mesh/proxy/connection-metrics.ts';
import { Connections } from '../mesh/proxy/connections.ts';
import { drained } from '../mesh/proxy/drain-threads.ts';
import { dumpState } from '../mesh/proxy/dump-state.ts';
import { keyLogTo } from '../mesh/proxy/key-log.ts';
import { HandshakeAdmission } from '../mesh/proxy/handshake-admission.ts';
import { InboundSessions } from '../mesh/proxy/inbound-sessions.ts';
import { cutRevoked, RevocationCheck } from '../mesh/proxy/revocation.ts';
import { applyDelta } from '../mesh/proxy/state/apply.ts';
import { deltaOf } from '../mesh/proxy/state/decode.ts';
import { ProxyState } from '../mesh/proxy/state/store.ts';
import { WaypointStore } from '../mesh/proxy/state/waypoint-store.ts';
import { StateWaiters } from '../mesh/proxy/state/waiters.ts';
import { TlsContexts } from '../mesh/proxy/tls-contexts.ts';
import { dataThreadStart, openDataThread } from '../mesh/runtime/data-thread.ts';
import { openLog } from '../mesh/runtime/log.ts';
import { watchLoop } from '../mesh/runtime/loop-watchdog.ts';
import { Metrics } from '../mesh/runtime/metrics.ts';
import { HeapSampling, profileCpu } from '../mesh/runtime/profile.ts';
import { releaseAfterFloods } from '../mesh/runtime/release-after-floods.ts';
import { systemClock as netClock } from '../net/clock.ts';
import { DEFAULT_LIMITS } from '../net/http1/limits.ts';
import type { HttpServerOptions } from '../net/http/server.ts';
import { closeReactor, setFaultHandler } from '../net/reactor.ts';
import type { TcpListener } from '../net/tcp-listener.ts';
import { POST_QUANTUM_GROUPS } from '../net/tls-context.ts';
import { BatchSender } from './batch-sender.ts';
import { explainRequest } from './explain.ts';
import { HttpSteps } from './http-steps.ts';
import { HttpConnections, type HttpParts } from './http.ts';
import { Security } from './security.ts';
import { listenForTunnels } from './listener.ts';
import type { WaypointParts } from './parts.ts';
import { RateLimiter } from './rate-limit.ts';
import { RequestLog } from './request-log.ts';
import { RequestMetrics } from './request-metrics.ts';
import { Taps } from './tap.ts';
import type { SpanRecord } from './span-record.ts';
import type {
  ControlCalls,
  DataThreadCalls,
  DataThreadSettings,
  XdsDelta,
} from './thread-calls.ts';
import { Deadlines } from './timeout.ts';
import { Tracing } from './tracing.ts';
import { dialEndpoint } from './upstream/dial.ts';
import { UpstreamPool } from './upstream/pool.ts';
import { isTargetEndpoint } from './upstream/target-backend.ts';
import { UpstreamTargets } from './upstream/targets.ts';

/* The entry of a data thread: it holds the decoded state and every connection; the control thread tells it what changes. */

const { index, settings } = dataThreadStart();
const { config, logFormat, logLevels, revocations } = settings as DataThreadSettings;
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
const store = new WaypointStore();
const clock = {
  now: () => performance.now(),
  schedule: systemClock.schedule,
  random: Math.random,
};
const security = new Security({
  ...{ store, identity, now: Date.now },
  // The account of a waypoint has its Gateway's name.
  gateway: gatewayTarget(namespace, serviceAccount),
});
const limitsLog = log.scope('rate-limit');
const rateLimiter = new RateLimiter({
  ...{ store, clock: netClock, metrics, redisUrl: config.redisUrl },
  onEvent(event) {
    if (event.kind === 'available')
      limitsLog.info('global rate limits are counted', { after_ms: Math.round(event.afterMs) });
    else limitsLog.warn('global rate limits cannot be counted', { reason: event.reason });
  },
});
const targets = new UpstreamTargets({
  ...{ state, store, clock },
  self: () => state.localWorkload(parts.self),
  onOutlierEvent(target, event) {
    logger.info(`endpoint ${event.kind}`, { target, ...event });
  },
});
const upstreams = new UpstreamPool((endpoint, version, events, timeoutMs) => {
  if (!isTargetEndpoint(endpoint)) throw new Error(`Cannot dial ${endpoint.text}`);
  return dialEndpoint(parts, endpoint, version, events, timeoutMs);
});
const requestMetrics = new RequestMetrics(metrics);
const requestLog = new RequestLog(log.writer);
const accessLog = log.scope('access');
const spans = new BatchSender<SpanRecord>(
  (batch) => link.call('spans', batch),
  (count) => {
    spansDropped.value += count;
  },
);
const spansDropped = metrics
  .counter('halo_trace_spans_total', 'Spans, by what became of them', { labelNames: ['result'] })
  .cell('dropped');
const tracing = new Tracing({
  ...{ samplingPercent: config.traceSamplingPercent, random: Math.random },
  ...(config.otlpEndpoint !== undefined && {
    onSpan(span) {
      spans.add(span);
    },
  }),
});
const taps = new Taps((batch) => link.call('tapped', batch));
const steps = new HttpSteps({
  ...{ store, targets, pool: upstreams, deadlines: new Deadlines(netClock) },
  random: Math.random,
  paths: () => security.settings.paths,
  judges: {
    authorize: (request) => security.authorize(request),
    limitRate: (request) => rateLimiter.limitRate(request),
    trace(request) {
      tracing.trace(request);
    },
    onRequestEnd(request) {
      security.onRequestEnd(request);
      tracing.onRequestEnd(request);
      taps.onRequestEnd(request);
      requestMetrics.count(request, request.downstream.service);
      if (accessLog.isEnabled('info')) requestLog.write(request);
    },
    onFault(error) {
      logger.error('internal error', { error: describeError(error) });
    },
  },
});
const UNDERSCORES: HttpServerOptions = {
  http1: { limits: { ...DEFAULT_LIMITS, allowUnderscores: true } },
};
const http: HttpParts = {
  ...{ steps, connections: new HttpConnections() },
  /** Of connections that begin now. */
  get server(): HttpServerOptions {
    return security.settings.allowUnderscores ? UNDERSCORES : {};
  },
};
const revocation = revocations && new RevocationCheck(metrics, revocations);
const parts: WaypointParts = {
  ...(revocation && { revocation }),
  ...{ http, security, store },
  ...{ state, waiters, connections, pool, gone: gone.signal, network: config.network },
  self: { name, namespace, serviceAccount, identity },
  contexts: new TlsContexts({
    fetch: (asked: SpiffeId) => link.call('certificate', { identity: asked }),
    onRenewed: (renewed) => {
      pool.retireIdentity(renewed);
      upstreams.retireAll();
    },
    ...keyLogTo(config.keyLogFile, logger),
    ...(config.compliancePolicy === 'pqc' && { groups: POST_QUANTUM_GROUPS }),
  }),
  metrics: new ConnectionMetrics(metrics),
  accessLog,
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
    revocations(file) {
      revocation?.load(file);
      if (revocation !== undefined) cutRevoked(revocation, parts, sessions);
      return null;
    },
    metrics: () => metrics.snapshot(),
    connections: () => connections.size,
    dump: () => dumpState(state),
    logLevels(levels) {
      log.setLevels(levels);
      return null;
    },
    explain(question) {
      const self = { name, namespace, workload: state.localWorkload(parts.self) };
      try {
        return explainRequest(
          { state, store, security, targets, self, network: config.network },
          question,
        );
      } catch (error) {
        return { error: describeError(error) };
      }
    },
    tap({ id, filter }) {
      taps.add(id, filter);
      return null;
    },
    untap({ id }) {
      taps.delete(id);
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
      http.connections.drain();
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
    upstreams[Symbol.dispose]();
    targets[Symbol.dispose]();
    security[Symbol.dispose]();
    rateLimiter[Symbol.dispose]();
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
  const own = store.apply(typeUrl, resources, removed);
  if (own !== undefined) {
    targets.onChange(own.services);
    if (own.securities.size > 0) {
      security.onChange(own.securities);
      await connections.recheck(pause);
      await security.recheck(pause);
    }
    waiters.announce();
    return own.rejected;
  }
  const delta = deltaOf(typeUrl, resources, removed);
  if (delta === undefined) return [];
  const { changed, rejected } = await applyDelta(state, delta, pause);
  targets.onChange(changed.services);
  waiters.announce();
  if (changed.policies.size + changed.workloads.size + changed.services.size > 0)
    await connections.recheck(pause);
  return rejected;
}
