import { flushCompileCache } from 'node:module';
import { setImmediate as pause } from 'node:timers/promises';
import { describeError } from '../base/errors.ts';
import { DnsCache } from '../mesh/dns/cache.ts';
import { Forwarder } from '../mesh/dns/forward.ts';
import { HostResolver } from '../mesh/dns/host-resolver.ts';
import { DnsMetrics } from '../mesh/dns/metrics.ts';
import { readResolvers } from '../mesh/dns/resolv-conf.ts';
import { resolverSockets } from '../mesh/dns/resolver-sockets.ts';
import { PeerDescriptions } from '../mesh/hbone/peer-descriptions.ts';
import { SessionPool } from '../mesh/hbone/pool.ts';
import type { SpiffeId, TrustDomain } from '../mesh/model/identity.ts';
import { OWN_PORTS, OWN_PORTS_WITH_SOCKS5 } from '../mesh/model/ports.ts';
import { workloadIdentity } from '../mesh/model/workload.ts';
import { ConnectionMetrics } from '../mesh/proxy/connection-metrics.ts';
import { Connections } from '../mesh/proxy/connections.ts';
import { applyDelta, type MeshResource } from '../mesh/proxy/state/apply.ts';
import { ProxyState } from '../mesh/proxy/state/store.ts';
import { StateWaiters } from '../mesh/proxy/state/waiters.ts';
import { dataThreadStart, openDataThread } from '../mesh/runtime/data-thread.ts';
import { openLog } from '../mesh/runtime/log.ts';
import { watchLoop } from '../mesh/runtime/loop-watchdog.ts';
import { Metrics } from '../mesh/runtime/metrics.ts';
import { HeapSampling, profileCpu } from '../mesh/runtime/profile.ts';
import { releaseAfterFloods } from '../mesh/runtime/release-after-floods.ts';
import { releaseMemory } from '../mesh/runtime/release-memory.ts';
import { releaseWhenQuiet } from '../mesh/runtime/release-when-quiet.ts';
import { decodeAddress } from '../mesh/xds/codec.ts';
import { decodeAuthorization } from '../mesh/xds/codec-policy.ts';
import { prepareNetns } from '../net/netns.ts';
import { closeReactor, setFaultHandler } from '../net/reactor.ts';
import { POST_QUANTUM_GROUPS } from '../net/tls-context.ts';
import { answerExplain } from './answer-explain.ts';
import { Demand } from './demand.ts';
import { DnsProxy } from './dns.ts';
import { drained } from '../mesh/proxy/drain-threads.ts';
import { dumpState } from '../mesh/proxy/dump-state.ts';
import { keepAliveOf } from '../mesh/proxy/keep-alive.ts';
import { keyLogTo } from '../mesh/proxy/key-log.ts';
import type { ZtunnelConfig } from './config.ts';
import { logStart } from './log-start.ts';
import type { DataParts } from './parts.ts';
import { Pods } from './pods.ts';
import { HandshakeAdmission } from '../mesh/proxy/handshake-admission.ts';
import { cutRevoked, RevocationCheck } from '../mesh/proxy/revocation.ts';
import { SelfProxy } from './self-proxy.ts';
import {
  DNS_THREAD,
  type ControlCalls,
  type DataThreadCalls,
  type DataThreadSettings,
  type XdsDelta,
} from './thread-calls.ts';
import { TlsContexts } from '../mesh/proxy/tls-contexts.ts';

/* The entry of a data thread: it holds the decoded state and every connection; the control thread tells it what changes. */

const { index, settings } = dataThreadStart();
const { config, logFormat, logLevels, revocations } = settings as DataThreadSettings;
const log = openLog({ format: logFormat, levels: logLevels });
const logger = log.scope('ztunnel');
const metrics = new Metrics();
const connectionMetrics = new ConnectionMetrics(metrics);
const demand: Demand | undefined = config.xdsOnDemand
  ? new Demand({
      demand: (key) => link.call('demand', { key }),
      release: (key) => {
        link.notify('release', { key });
      },
    })
  : undefined;
// A dedicated proxy may not know its node.
const nodeName = config.nodeName === '' ? undefined : config.nodeName;
const state = new ProxyState(nodeName, demand?.answered);
const waiters = new StateWaiters();
const connections = new Connections();
const pool = new SessionPool({ idleMs: config.poolIdleMs });
await prepareNetns();
const _watchdog = watchLoop({ metrics, thread: `data-${index}`, logger });
const _release = releaseAfterFloods();
const _releaseWhenQuiet = releaseWhenQuiet();

setFaultHandler((error) => {
  // A fault of ours in one connection must not end the others.
  logger.error('internal error', { error: describeError(error) });
});

const contexts = new TlsContexts({
  fetch: (identity: SpiffeId) => link.call('certificate', { identity }),
  onRenewed: (identity) => {
    pool.retireIdentity(identity);
  },
  ...keyLogTo(config.keyLogFile, logger),
  ...(config.compliancePolicy === 'pqc' && { groups: POST_QUANTUM_GROUPS }),
});

const resolvers = readResolvers();
const hosts = new HostResolver(
  new Forwarder({ resolvers, sockets: resolverSockets(), cache: new DnsCache() }),
  config,
);
const onDemandDns = metrics
  .counter('istio_on_demand_dns_total', 'Host names of workloads without an address resolved')
  .cell();
const dns = new DnsProxy({
  ...{ config, state, resolvers },
  metrics: new DnsMetrics(metrics),
  log: log.scope('dns'),
});

const revocation = revocations && new RevocationCheck(metrics, revocations);
const parts: DataParts = {
  ...(revocation && { revocation }),
  ...(demand && { demand }),
  ...{ state, waiters, pool, contexts, connections, metrics: connectionMetrics },
  accessLog: log.scope('access'),
  log: logger,
  policyLog: { logger: log.scope('rbac'), level: config.logPolicyInfo ? 'info' : 'debug' },
  network: config.network,
  ownPorts: config.socks5 ? OWN_PORTS_WITH_SOCKS5 : OWN_PORTS,
  clusterId: config.clusterId,
  packetMark: config.packetMark,
  handshakes: new HandshakeAdmission(metrics),
  keepAlive: keepAliveOf(config),
  takesTurns: config.dataThreads > 1,
  tunnelOnLoopback: config.localhostAppTunnel,
  responseBaggage: config.responseBaggage,
  peerDescriptions: new PeerDescriptions(),
  clientHttp2: { ...http2Of(config), maxStreams: config.poolMaxStreams },
  serverHttp2: http2Of(config),
  trustDomains: new Set<TrustDomain>([config.trustDomain, ...config.trustDomainAliases]),
  resolveHostname: (hostname) => {
    onDemandDns.value++;
    return hosts.resolve(hostname);
  },
  namesOf: (pod) => dns.names(pod),
  // In one thread for all pods; see DnsProxy.
  ...(config.dnsCapture && index === DNS_THREAD && { dns }),
};
const heap = new HeapSampling();
const pods = new Pods(parts, config.trustDomain);
let self: SelfProxy | undefined;

const socketsOpen = metrics.gauge('istio_tcp_sockets_open', 'TCP connections that are open', {
  labelNames: ['reporter'],
});
metrics.onCollect(() => {
  const open = { inbound: 0, outbound: 0 };
  for (const connection of connections.all()) {
    connection.updateMetrics();
    open[connection.direction]++;
  }
  socketsOpen.cell('destination').value = open.inbound;
  socketsOpen.cell('source').value = open.outbound;
});

const link = openDataThread<DataThreadCalls, ControlCalls>({
  handlers: {
    applyXds,
    addPod(handover) {
      pods.add(handover);
      return null;
    },
    serveSelf(handover) {
      self = new SelfProxy(parts, handover, config.trustDomain);
      return null;
    },
    removePod({ uid }) {
      pods.remove(uid);
      return null;
    },
    certificate(certificate) {
      // Only identities in use have a context here; others fetch theirs when they need it.
      const contextsHere =
        self === undefined ? pods.contexts() : [...pods.contexts(), self.context];
      if (contextsHere.some(({ identity }) => identity === certificate.identity))
        contexts.set(certificate);
      return null;
    },
    revocations(file) {
      revocation?.load(file);
      if (revocation !== undefined) cutRevoked(revocation, parts, pods);
      return null;
    },
    metrics: () => metrics.snapshot(),
    connections: () =>
      [...connections.all()].map((connection) => {
        const { source, originalDestination, actualDestination, protocol } = connection.describe();
        const { direction, podUid } = connection;
        return {
          podUid,
          connection: { direction, source, originalDestination, actualDestination, protocol },
        };
      }),
    dump: () => dumpState(state, demand?.list()),
    explain: (request) => answerExplain(parts, request),
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
      pods.stopAll();
      self?.stop();
      await Promise.all([connections.whenIdle(), pods.whenIdle()]);
      return null;
    },
    forceClose() {
      connections.cutAll(drained());
      return null;
    },
    startIsOver() {
      flushCompileCache(); // for the thread after one that is killed
      releaseMemory();
      return null;
    },
  },
  onStop() {
    connections.cutAll(drained());
    pods.stopAll();
    pods.leaveAll();
    pool[Symbol.dispose]();
    contexts[Symbol.dispose]();
    closeReactor();
    log.flush();
  },
  onNotifyError(error, name) {
    logger.error('internal error', { call: name, error: describeError(error) });
  },
});

logStart(log, 'data thread ready');

async function applyXds(delta: XdsDelta): Promise<DataThreadCalls['applyXds']['response']> {
  const resources = delta.resources.map(({ name, bytes }) => ({
    name,
    decode: (): MeshResource =>
      delta.type === 'address'
        ? decodeAddress(bytes)
        : { kind: 'policy', policy: decodeAuthorization(bytes) },
  }));
  const { type, removed } = delta;
  const { changed, rejected } = await applyDelta(state, { type, resources, removed }, pause);
  waiters.announce();
  if (changed.policies.size + changed.workloads.size + changed.services.size > 0)
    await connections.recheck(pause);
  return { rejected, localIdentities: localIdentities() };
}

/** Those that will need a certificate: the pods of this node that speak HBONE through us, or the one that we serve. */
function localIdentities(): SpiffeId[] {
  const { dedicatedWorkload } = config;
  if (dedicatedWorkload !== undefined) {
    const own = state.localWorkload(dedicatedWorkload);
    return own === undefined ? [] : [workloadIdentity(own)];
  }
  const found = new Set<SpiffeId>();
  for (const workload of state.workloads())
    if (workload.node === config.nodeName && workload.tunnelProtocol === 'HBONE')
      found.add(workloadIdentity(workload));
  return [...found];
}

function http2Of({ streamWindowBytes, connectionWindowBytes, frameBytes }: ZtunnelConfig): {
  streamWindowBytes: number;
  connectionWindowBytes: number;
  maxFrameBytes: number;
} {
  return { streamWindowBytes, connectionWindowBytes, maxFrameBytes: frameBytes };
}
