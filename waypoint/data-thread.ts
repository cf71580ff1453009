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
import { gatewayKey } from '../mesh/model/gateway-listener.ts';
import { gatewayTarget } from '../mesh/model/target-security.ts';
import { ConnectionMetrics } from '../mesh/proxy/connection-metrics.ts';
import { Connections } from '../mesh/proxy/connections.ts';
import { drained } from '../mesh/proxy/drain-threads.ts';
import { dumpState } from '../mesh/proxy/dump-state.ts';
import { keepAliveOf } from '../mesh/proxy/keep-alive.ts';
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
import { releaseWhenQuiet } from '../mesh/runtime/release-when-quiet.ts';
import { systemClock as netClock } from '../net/clock.ts';
import { DEFAULT_LIMITS } from '../net/http1/limits.ts';
import type { HttpServerOptions } from '../net/http/server.ts';
import { closeReactor, setFaultHandler } from '../net/reactor.ts';
import type { TcpListener } from '../net/tcp-listener.ts';
import { POST_QUANTUM_GROUPS } from '../net/tls-context.ts';
import { explainAtGateway } from './gateway/explain.ts';
import { GatewayPorts } from './gateway/gateway-ports.ts';
import { GatewayRoutes } from './gateway/gateway-routes.ts';
import { ServerTls } from './gateway/server-tls.ts';
import { explainRequest } from './explain.ts';
import { EndpointMetrics } from './endpoint-metrics.ts';
import { reportTarget } from './endpoint-report.ts';
import { CheckedHealth } from './health/checked-health.ts';
import { EndpointChecks } from './health/endpoint-checks.ts';
import { HttpSteps } from './http-steps.ts';
import { HttpConnections, type HttpParts } from './http.ts';
import { Security } from './security.ts';
import { listenForTunnels } from './listener.ts';
import type { WaypointParts } from './parts.ts';
import { RateLimiter } from './rate-limit.ts';
import { Telemetry } from './telemetry.ts';
import type {
  ControlCalls,
  DataThreadCalls,
  DataThreadSettings,
  XdsDelta,
} from './thread-calls.ts';
import { Deadlines } from './timeout.ts';
import { departedBy } from './upstream/departed.ts';
import { connectEndpoint, dialEndpoint } from './upstream/dial.ts';
import { UpstreamPool } from './upstream/pool.ts';
import { isTargetEndpoint } from './upstream/target-backend.ts';
import { UpstreamTargets } from './upstream/targets.ts';
import { UpstreamTlsClient } from './upstream/tls.ts';

/* The entry of a data thread: it holds the decoded state and every connection; the control thread tells it what changes. */

const { index, settings } = dataThreadStart();
const { config, logFormat, logLevels, revocations, limitsMemory } = settings as DataThreadSettings;
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
const _releaseWhenQuiet = releaseWhenQuiet();

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
/** As Istio's gateways say of themselves. */
const reporter = config.role === 'gateway' ? 'source' : 'waypoint';
const store = new WaypointStore();
// The account of a waypoint or gateway has its name.
const gateway = gatewayKey(namespace, serviceAccount);
let gatewayRoutes = new GatewayRoutes(undefined);
/** What connections to backends were made with. */
let shownToBackends: string | undefined;
const clock = {
  now: () => performance.now(),
  schedule: systemClock.schedule,
  random: Math.random,
};
const security = new Security({
  ...{ store, identity, now: Date.now },
  gateway: gatewayTarget(namespace, serviceAccount),
});
const limitsLog = log.scope('rate-limit');
const rateLimiter = new RateLimiter({
  ...{ store, clock: netClock, metrics, redisUrl: config.redisUrl, processMemory: limitsMemory },
  gatewayLimits: () => store.listeners(gateway)?.limits,
  onEvent(event) {
    if (event.kind === 'available')
      limitsLog.info('global rate limits are counted', { after_ms: Math.round(event.afterMs) });
    else limitsLog.warn('global rate limits cannot be counted', { reason: event.reason });
  },
});
const health = new CheckedHealth();
const targets = new UpstreamTargets({
  ...{ state, store, clock },
  ...{ self: () => state.localWorkload(parts.self), health, network: config.network },
  isIngress: config.role === 'gateway',
  onOutlierEvent(target, event) {
    logger.info(`endpoint ${event.kind}`, { target, ...event });
    const { kind, endpoint } = event;
    const time = new Date().toISOString();
    const reason = event.kind === 'returned' ? '' : event.cause;
    link.notify('endpointEvent', { ...{ time, kind, target, endpoint }, reason });
  },
});
const endpointMetrics = new EndpointMetrics(metrics);
/** One thread of the process checks, for all of them. */
const checks =
  index === 0
    ? new EndpointChecks({
        ...{ state, store, clock, log: logger, isIngress: config.role === 'gateway' },
        ways: {
          connect: (endpoint, timeoutMs, signal) =>
            connectEndpoint(parts, endpoint, signal, timeoutMs),
          dial: (endpoint, version, events, timeoutMs, signal) =>
            dialEndpoint(parts, endpoint, version, events, timeoutMs, signal),
        },
        onResult(result) {
          endpointMetrics.countCheck(result);
        },
        onResults(batch) {
          link.notify('health', batch);
        },
        onEvent(event) {
          link.notify('endpointEvent', event);
        },
      })
    : undefined;
const upstreams = new UpstreamPool((endpoint, version, events, timeoutMs) => {
  if (!isTargetEndpoint(endpoint)) throw new Error(`Cannot dial ${endpoint.text}`);
  return dialEndpoint(parts, endpoint, version, events, timeoutMs);
});
const telemetry = new Telemetry({
  ...{ metrics, log, reporter, samplingPercent: config.traceSamplingPercent },
  exportsSpans: config.otlpEndpoint !== undefined,
  sendSpans: (batch) => link.call('spans', batch),
  sendTapped: (batch) => link.call('tapped', batch),
});
const steps = new HttpSteps({
  ...{ store, targets, pool: upstreams, deadlines: new Deadlines(netClock) },
  random: Math.random,
  paths: () => security.settings.paths,
  gateway: () => gatewayRoutes,
  judges: {
    authorize: (request) => security.authorize(request),
    limitRate: (request) => rateLimiter.limitRate(request),
    trace(request) {
      telemetry.onRequest(request);
    },
    onRequestEnd(request) {
      security.onRequestEnd(request);
      telemetry.onRequestEnd(request);
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
  serverTls: new ServerTls(),
  upstreamTls: new UpstreamTlsClient({
    ownCertificate: () => parts.contexts.certificate(identity),
    clientCertificate: () => store.listeners(gateway)?.clientCertificate,
  }),
  get gateway() {
    return gatewayRoutes;
  },
  ...{ state, waiters, connections, pool, gone: gone.signal, network: config.network },
  self: { name, namespace, serviceAccount, identity },
  keepAlive: keepAliveOf(config),
  takesTurns: config.dataThreads > 1,
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
  accessLog: log.scope('access'),
  log: logger,
  handshakes: new HandshakeAdmission(metrics),
  trustDomains: new Set<TrustDomain>([trustDomain, ...config.trustDomainAliases]),
  clientHttp2: { ...http2, maxStreams: config.poolMaxStreams },
  serverHttp2: http2,
  resolveHostname: (hostname) => hosts.resolve(hostname),
};

const ports = new GatewayPorts(parts);
const socketsOpen = metrics.gauge('istio_tcp_sockets_open', 'TCP connections that are open', {
  labelNames: ['reporter'],
});
metrics.onCollect(() => {
  for (const connection of connections.all()) connection.updateMetrics();
  endpointMetrics.collect(targets.all());
  socketsOpen.cell(reporter).value = connections.size;
});

const link = openDataThread<DataThreadCalls, ControlCalls>({
  handlers: {
    applyXds,
    listen({ fd }) {
      listener = listenForTunnels(parts, sessions, fd);
      return null;
    },
    openPort({ port, transport, fd }) {
      ports.open(port, transport, fd);
      return null;
    },
    closePort({ port, transport }) {
      ports.close(port, transport);
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
    endpoints: () => [...targets.all()].map(([name, target]) => reportTarget(name, target)),
    logLevels(levels) {
      log.setLevels(levels);
      return null;
    },
    explain(question) {
      const self = { name, namespace, identity, workload: state.localWorkload(parts.self) };
      const told = { state, store, security, targets, self, network: config.network };
      try {
        return config.role === 'gateway'
          ? explainAtGateway({ ...told, gateway: gatewayRoutes }, question)
          : explainRequest(told, question);
      } catch (error) {
        return { error: describeError(error) };
      }
    },
    tap({ id, filter }) {
      telemetry.taps.add(id, filter);
      return null;
    },
    health(results) {
      for (const result of results) {
        health.apply(result);
        targets.onChecked(result);
      }
      return null;
    },
    untap({ id }) {
      telemetry.taps.delete(id);
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
      ports.closeAll();
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
    ports.closeAll();
    gone.abort(drained());
    checks?.[Symbol.dispose]();
    upstreams[Symbol.dispose]();
    targets[Symbol.dispose]();
    security[Symbol.dispose]();
    rateLimiter[Symbol.dispose]();
    pool[Symbol.dispose]();
    parts.upstreamTls[Symbol.dispose]();
    parts.serverTls[Symbol.dispose]();
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
    if (own.gateways.has(gateway)) {
      const listeners = store.listeners(gateway);
      gatewayRoutes = new GatewayRoutes(listeners);
      parts.serverTls.retain(listeners);
      const shown = listeners?.clientCertificate?.chainPem;
      if (shown !== shownToBackends) upstreams.retireAll();
      shownToBackends = shown;
    }
    checks?.update(own.services);
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
  upstreams.retire(departedBy(changed, state));
  checks?.update(changed.services);
  waiters.announce();
  if (changed.policies.size + changed.workloads.size + changed.services.size > 0)
    await connections.recheck(pause);
  return rejected;
}
