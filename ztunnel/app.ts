import { CertificateManager } from '../certs/manager.ts';
import { describeError } from '../base/errors.ts';
import { openAdminServer, type AdminListen } from '../mesh/admin/server.ts';
import {
  countStreamEvents,
  describeXds,
  followStream,
  openCaClient,
  xdsServer,
} from '../mesh/proxy/control-plane.ts';
import { drainThreads } from '../mesh/proxy/drain-threads.ts';
import { readinessRoutes, statsRoutes } from '../mesh/proxy/proxy-pages.ts';
import type { Logger } from '../mesh/runtime/log.ts';
import { watchLoop } from '../mesh/runtime/loop-watchdog.ts';
import { Metrics } from '../mesh/runtime/metrics.ts';
import { addBuildMetric, addProcessMetrics } from '../mesh/runtime/process-metrics.ts';
import type { ProgramContext } from '../mesh/runtime/program.ts';
import { releaseMemory } from '../mesh/runtime/release-memory.ts';
import { Readiness, type ReadinessGate } from '../mesh/runtime/readiness.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../mesh/xds/codec.ts';
import { DeltaClient } from '../mesh/xds/delta-client.ts';
import { makeNode, type NodeFacts } from '../mesh/xds/node.ts';
import { ZdsClient } from '../mesh/zds/client.ts';
import { ListenerClient } from '../mesh/zds/listeners.ts';
import { prepareNetns } from '../net/netns.ts';
import type { ZtunnelConfig } from './config.ts';
import { serveDedicated } from './dedicated.ts';
import { DemandHolders } from './demand-holders.ts';
import { followRevocations } from '../mesh/proxy/follow-revocations.ts';
import { logStart } from './log-start.ts';
import { serveSelf } from './serve-self.ts';
import { adminRoutes } from './pages.ts';
import { PodManager } from './pod-manager.ts';
import type { StartedThreads } from './start-data-threads.ts';
import { XdsApplier } from './xds-applier.ts';

/**
 * After the hand-over of the pods: what waited in their queues is served first, and needs the processors. Later where a
 * pod cannot be served, or no node agent is there.
 */
const WARM_AFTER_PODS_MS = 100;
const WARM_AFTER_STATE_MS = 1_000;
/** By then the connections that waited for the start have been served, and a pause harms nobody. */
const START_IS_OVER_MS = 2_000;
const POD_GATE = 'workload proxy manager';

/** Starts the node proxy, whose data threads have been started: joins its parts, and leaves in the stack what undoes them. */
export async function startZtunnel(
  context: ProgramContext<ZtunnelConfig>,
  { threads, useSources }: StartedThreads,
): Promise<void> {
  const { config, log, stack, stopping, stop } = context;
  logStart(log, 'modules of the control thread loaded');
  const logger = log.scope('ztunnel');
  const readiness = new Readiness();
  const gates = {
    state: readiness.gate('state manager'),
    pods: readiness.gate(POD_GATE),
  };
  const metrics = new Metrics();
  addProcessMetrics(metrics);
  addBuildMetric(metrics, 'ztunnel', config.buildVersion);
  stack.use(watchLoop({ metrics, thread: 'control', logger }));

  const caClient = stack.use(
    // A workload's own account may ask for itself alone.
    openCaClient(config, { impersonate: config.dedicatedWorkload === undefined }),
  );
  const warm = Promise.withResolvers<undefined>();
  const warmAfter = (delayMs: number): void => {
    setTimeout(() => {
      warm.resolve(undefined);
    }, delayMs).unref();
  };
  const certificates = stack.use(
    new CertificateManager({
      fetch: (identity, options) => caClient.fetch(identity, options),
      warmAfter: warm.promise,
    }),
  );
  const ended = new AbortController();
  const holders = new DemandHolders({
    demand: (key) => xds.demand(ADDRESS_TYPE, key, ended.signal),
    release: (key) => {
      xds.release(ADDRESS_TYPE, key);
    },
  });
  useSources({ certificates, holders });
  stack.use(followRevocations(config.crlPath, threads, logger));
  const firstCertificate = certificates.subscribe(() => {
    logStart(log, 'first certificate');
    firstCertificate();
  });
  certificates.subscribe((certificate) => {
    threads.notifyAll('certificate', certificate);
  });

  const applier = new XdsApplier(threads, certificates);
  const xds: DeltaClient = new DeltaClient({
    ...xdsServer(config),
    node: nodeOf(config),
    types: [
      { typeUrl: ADDRESS_TYPE, onDemand: config.xdsOnDemand },
      // A policy that is not known is one that is not enforced, so all of them are followed.
      { typeUrl: AUTHORIZATION_TYPE, onDemand: false },
    ],
    apply: (typeUrl, resources, removed) => applier.apply(typeUrl, resources, removed),
    onEvent: followStream({
      ...{ caClient, certificates, logger },
      count: countStreamEvents(metrics),
      onConnected: () => {
        logStart(log, 'control plane connected');
      },
    }),
  });
  // First of all that is waited for: no connection is served before the answer.
  const running = xds.run(ended.signal);
  void caClient.connect();
  stack.defer(async () => {
    ended.abort();
    await running;
  });
  void xds.synced.then(() => {
    logStart(log, 'configuration of the mesh complete');
    gates.state.open();
    warmAfter(WARM_AFTER_STATE_MS);
    const startIsOver = setTimeout(() => {
      releaseMemory();
      threads.notifyAll('startIsOver', null);
    }, START_IS_OVER_MS).unref();
    stopping.addEventListener('abort', () => {
      clearTimeout(startIsOver);
    });
    // In dedicated mode its port is the workload's.
    if (config.dedicatedWorkload === undefined)
      void serveSelf({ config, threads, certificates, logger });
  });

  const readinessServer = stack.use(
    await openAdminServer({
      listen: [publicPort(config, config.readinessPort)],
      ...{ routes: readinessRoutes(readiness), logger, anyHost: true },
    }),
  );
  await prepareNetns();
  const { dedicatedWorkload: workload, listenersPath } = config;
  const listeners =
    workload !== undefined || listenersPath === undefined
      ? undefined
      : new ListenerClient(listenersPath, () => {
          void pods.offerSockets();
          zds?.connectNow();
        });
  const pods: PodManager = new PodManager({
    ...{ config, threads, certificates, listeners, metrics },
    synced: xds.synced,
  });
  const agent = { pods, readiness, gate: gates.pods, logger, stop };
  let zds: ZdsClient | undefined;
  if (workload === undefined) zds = followNodeAgent(config.zdsPath, agent);
  else void serveDedicated({ ...agent, workload });
  pods.reportPending(() => zds?.pendingPods ?? 0);
  stack.defer(() => {
    zds?.close();
    listeners?.close();
  });

  const pageParts = { config, log, metrics, readiness, threads, certificates, pods, stop };
  const parts = { ...pageParts, xdsStatus: () => describeXds(xds) };
  stack.use(
    await openAdminServer({
      listen: adminListen(config, readiness),
      ...{ routes: adminRoutes(parts), logger },
    }),
  );
  const statsServer = stack.use(
    await openAdminServer({
      listen: [publicPort(config, config.statsPort)],
      ...{ routes: statsRoutes(parts), logger, anyHost: true },
    }),
  );
  const servers = [readinessServer, statsServer];
  stack.defer(() =>
    drainThreads(threads, config.terminationDeadlineMs, logger, async () => {
      zds?.drain();
      // From here on these ports are the next process's alone.
      await Promise.all(servers.map((server) => server[Symbol.asyncDispose]()));
    }),
  );
  stopping.throwIfAborted();
  void readiness.whenReady().then(() => {
    warmAfter(WARM_AFTER_PODS_MS);
    logger.info('ready', { node: config.nodeName, data_threads: threads.count });
  });
}

type AgentParts = Readonly<{
  pods: PodManager;
  readiness: Readiness;
  gate: ReadinessGate;
  logger: Logger;
  stop: (reason: string) => void;
}>;

/** Serves the pods that the node agent hands over; ready while it is there. */
function followNodeAgent(path: string, parts: AgentParts): ZdsClient {
  const { pods, readiness, gate, logger, stop } = parts;
  return new ZdsClient({
    path,
    handler: pods,
    onReady(ready) {
      if (ready) void pods.offerSockets();
      if (ready) gate.open();
      else readiness.gate(POD_GATE);
    },
    onProtocolError(error) {
      logger.error('the node agent breaks the protocol', { error: describeError(error) });
      process.exitCode = 1;
      stop('protocol error of the node agent');
    },
    log(message) {
      logger.warn(message);
    },
  });
}

function nodeOf(config: ZtunnelConfig): ReturnType<typeof makeNode> {
  const { instanceIp, nodeName } = config;
  return makeNode(
    { type: 'ztunnel', instanceIp, nodeName, ...ownPod(config) },
    config.nodeMetadata,
  );
}

/** Who this program is: in dedicated mode it speaks for its workload. */
function ownPod({
  dedicatedWorkload,
  ...own
}: ZtunnelConfig): Pick<NodeFacts, 'podName' | 'podNamespace' | 'serviceAccount'> {
  if (dedicatedWorkload === undefined) {
    const { podName, podNamespace, serviceAccount } = own;
    return { podName, podNamespace, serviceAccount };
  }
  const { name, namespace, serviceAccount } = dedicatedWorkload;
  return { podName: name, podNamespace: namespace, serviceAccount };
}

/** Of all addresses; beside a process that this one replaces, where ports may be shared. */
function publicPort({ portReuse: reusePort }: ZtunnelConfig, port: number): AdminListen {
  return { kind: 'tcp', host: '::', port, reusePort };
}

/**
 * Loopback only, and a unix socket that our own user reaches from every namespace. The socket stays with a process that
 * this one replaces until this one is ready, which it may never be.
 */
function adminListen(
  { adminPort: port, adminPath: path, portReuse }: ZtunnelConfig,
  readiness: Readiness,
): AdminListen[] {
  const loopback = ['127.0.0.1', '::1'].map(
    (host) => ({ kind: 'tcp', host, port, reusePort: portReuse }) as const,
  );
  if (path === undefined) return loopback;
  const takeOver = portReuse ? { takeOver: readiness.whenReady() } : {};
  return [...loopback, { kind: 'unix', path, ...takeOver }];
}
