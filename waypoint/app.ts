import { closeSync } from 'node:fs';
import { parseIpAddress } from '../base/address.ts';
import { describeError } from '../base/errors.ts';
import { CertificateManager } from '../certs/manager.ts';
import { openAdminServer, type AdminListen } from '../mesh/admin/server.ts';
import { makeSpiffeId } from '../mesh/model/identity.ts';
import { HBONE_PORT } from '../mesh/model/ports.ts';
import {
  countStreamEvents,
  describeXds,
  followStream,
  openCaClient,
  xdsServer,
} from '../mesh/proxy/control-plane.ts';
import { followRevocations, readRevocations } from '../mesh/proxy/follow-revocations.ts';
import { gatewayKey } from '../mesh/model/gateway-listener.ts';
import { drainThreads } from '../mesh/proxy/drain-threads.ts';
import { readinessRoutes, statsRoutes } from '../mesh/proxy/proxy-pages.ts';
import { DataThreads } from '../mesh/runtime/data-threads.ts';
import type { Logger } from '../mesh/runtime/log.ts';
import { watchLoop } from '../mesh/runtime/loop-watchdog.ts';
import { Metrics } from '../mesh/runtime/metrics.ts';
import { addBuildMetric, addProcessMetrics } from '../mesh/runtime/process-metrics.ts';
import type { ProgramContext } from '../mesh/runtime/program.ts';
import { Readiness } from '../mesh/runtime/readiness.ts';
import type { CallHandlers } from '../mesh/runtime/thread-link.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../mesh/xds/codec.ts';
import { GATEWAY_LISTENERS_TYPE } from '../mesh/xds/codec-gateway.ts';
import { WAYPOINT_TYPES } from '../mesh/xds/waypoint-codecs.ts';
import { DeltaClient } from '../mesh/xds/delta-client.ts';
import { makeNode } from '../mesh/xds/node.ts';
import { spareMemory } from '../mesh/runtime/spare-memory.ts';
import { duplicate } from '../net/descriptor.ts';
import { bindListener } from '../net/tcp.ts';
import type { WaypointConfig } from './config.ts';
import { GatewaySockets } from './gateway/gateway-sockets.ts';
import { EndpointEvents } from './endpoint-events.ts';
import { adminRoutes } from './pages.ts';
import { ProcessBuckets } from './rate-limit/process-buckets.ts';
import { SpanExports } from './span-exports.ts';
import { TapStreams } from './tap-streams.ts';
import type { ControlCalls, DataThreadCalls, DataThreadSettings } from './thread-calls.ts';

type Threads = DataThreads<ControlCalls, DataThreadCalls>;

/** Starts a waypoint: joins its parts, and leaves in the stack what undoes them. */
export async function startWaypoint(context: ProgramContext<WaypointConfig>): Promise<void> {
  const { config, log, stack, stopping, stop } = context;
  stack.use(spareMemory());
  const logger = log.scope('waypoint');
  const { podNamespace: namespace, serviceAccount, trustDomain } = config;
  const identity = makeSpiffeId({ trustDomain, namespace, serviceAccount });
  const readiness = new Readiness();
  const gates = {
    state: readiness.gate('configuration'),
    certificate: readiness.gate('certificate'),
    listener: readiness.gate('listener'),
  };
  const metrics = new Metrics();
  addProcessMetrics(metrics);
  addBuildMetric(metrics, 'waypoint', config.buildVersion);
  stack.use(watchLoop({ metrics, thread: 'control', logger }));

  const caClient = stack.use(openCaClient(config, { impersonate: false }));
  const certificates = stack.use(
    new CertificateManager({ fetch: (asked, options) => caClient.fetch(asked, options) }),
  );
  const events = new EndpointEvents();
  const taps = new TapStreams({
    tap: (id, filter) => threads.callAll('tap', { id, filter }),
    untap: (id) => threads.callAll('untap', { id }),
  });
  // Ends after the threads: their last spans are exported too.
  const spans =
    config.otlpEndpoint === undefined
      ? undefined
      : await openSpanExports(context, metrics, config.otlpEndpoint);
  const threads = stack.use(
    startThreads(context, logger, {
      certificate: ({ identity: asked }) => certificates.get(asked),
      tapped(batch) {
        taps.take(batch);
        return null;
      },
      endpointEvent(event) {
        events.add(event);
        return null;
      },
      health(batch) {
        threads.notifyAll('health', batch);
        return null;
      },
      spans(batch) {
        spans?.add(batch);
        return null;
      },
    }),
  );
  certificates.subscribe((certificate) => {
    threads.notifyAll('certificate', certificate);
    gates.certificate.open();
  });
  certificates.hold(identity);
  stack.use(followRevocations(config.crlPath, threads, logger));

  const sockets = new GatewaySockets({
    gateway: gatewayKey(namespace, serviceAccount),
    ...{ ipv6: config.ipv6, log: logger },
    threads: {
      count: threads.count,
      open: (index, port, fd) => threads.link(index).call('openPort', { ...port, fd }),
      close: (port) => threads.callAll('closePort', port),
    },
  });
  const xds = new DeltaClient({
    ...xdsServer(config),
    node: nodeOf(config),
    types: [...WAYPOINT_TYPES, ADDRESS_TYPE, AUTHORIZATION_TYPE].map((typeUrl) => ({
      typeUrl,
      onDemand: false,
    })),
    async apply(typeUrl, resources, removed) {
      const copies = resources.map(({ name, bytes }) => ({ name, bytes: Uint8Array.from(bytes) }));
      // All threads judge alike, so the first one's rejections are everyone's.
      const [first] = await threads.callAll('applyXds', { typeUrl, resources: copies, removed });
      if (typeUrl === GATEWAY_LISTENERS_TYPE) await sockets.apply(resources, removed);
      return first ?? [];
    },
    onEvent: followStream({
      ...{ caClient, certificates, logger },
      count: countStreamEvents(metrics),
    }),
  });
  const ended = new AbortController();
  const running = xds.run(ended.signal);
  void caClient.connect();
  stack.defer(async () => {
    ended.abort();
    await running;
  });

  const pageParts = { config, log, metrics, readiness, threads, certificates, taps, events, stop };
  const parts = { ...pageParts, xdsStatus: () => describeXds(xds) };
  const readinessServer = stack.use(
    await openAdminServer({
      listen: [anyAddress(config.readinessPort)],
      ...{ routes: readinessRoutes(readiness), logger, anyHost: true },
    }),
  );
  stack.use(
    await openAdminServer({
      listen: adminListen(config),
      ...{ routes: adminRoutes(parts), logger },
    }),
  );
  const statsServer = stack.use(
    await openAdminServer({
      listen: [anyAddress(config.statsPort)],
      ...{ routes: statsRoutes(parts), logger, anyHost: true },
    }),
  );
  const servers = [readinessServer, statsServer];
  stack.defer(() =>
    // Clients go to another replica.
    drainThreads(threads, config.terminationDeadlineMs, logger, () =>
      Promise.all(servers.map((server) => server[Symbol.asyncDispose]())),
    ),
  );
  stopping.throwIfAborted();

  // Before all configuration is here, a client would be told that what it asks for does not use this waypoint.
  void xds.synced.then(async () => {
    gates.state.open();
    try {
      if (config.role === 'gateway') await sockets.serve();
      else await listen(threads, config);
      gates.listener.open();
    } catch (error) {
      logger.error('cannot listen', { error: describeError(error) });
      process.exitCode = 1;
      stop('nothing can be served');
    }
  });
  void readiness.whenReady().then(() => {
    logger.info('ready', { identity, data_threads: threads.count });
  });
}

function startThreads(
  { config, log, stop }: ProgramContext<WaypointConfig>,
  logger: Logger,
  handlers: CallHandlers<ControlCalls>,
): Threads {
  const settings: DataThreadSettings = {
    config,
    logFormat: config.logFormat,
    logLevels: log.levels(),
    limitsMemory: config.dataThreads > 1 ? ProcessBuckets.makeMemory() : undefined,
    ...(config.crlPath !== undefined && { revocations: readRevocations(config.crlPath) }),
  };
  return new DataThreads<ControlCalls, DataThreadCalls>({
    ...{ count: config.dataThreads, entry: new URL('./data-thread.ts', import.meta.url), settings },
    handlers: () => handlers,
    onCrash(index, error) {
      logger.error('a data thread has ended', { thread: index, error: describeError(error) });
      process.exitCode = 1;
      stop('a data thread has ended');
    },
    onNotifyError(error, name) {
      logger.error('internal error', { call: name, error: describeError(error) });
    },
  });
}

/** The traces of this waypoint, by its own name and as Istio tags them. */
async function openSpanExports(
  { config, log, stack }: ProgramContext<WaypointConfig>,
  metrics: Metrics,
  endpoint: string,
): Promise<SpanExports> {
  const { serviceAccount: name, podNamespace: namespace, clusterId, podName } = config;
  const logger = log.scope('tracing');
  return stack.use(
    await SpanExports.open({
      ...{ endpoint, metrics },
      resource: {
        'service.name': `${name}.${namespace}`,
        'k8s.pod.name': podName,
        'istio.canonical_service': name,
        'istio.canonical_revision': 'latest',
        'istio.namespace': namespace,
        'istio.cluster_id': clusterId,
      },
      onFailure(error) {
        logger.warn('spans cannot be exported', { error: describeError(error) });
      },
    }),
  );
}

function nodeOf(config: WaypointConfig): ReturnType<typeof makeNode> {
  const { podName, podNamespace, serviceAccount, instanceIp, nodeName, nodeMetadata } = config;
  return makeNode(
    { type: 'waypoint', podName, podNamespace, serviceAccount, instanceIp, nodeName },
    nodeMetadata,
  );
}

/** One socket, which every thread accepts from. */
async function listen(threads: Threads, { ipv6 }: WaypointConfig): Promise<void> {
  const ip = parseIpAddress(ipv6 ? '::' : '0.0.0.0');
  const { fd } = bindListener({ address: { ip, port: HBONE_PORT } });
  try {
    for (let index = 0; index < threads.count; index++)
      await threads.link(index).call('listen', { fd: duplicate(fd) });
  } finally {
    closeSync(fd);
  }
}

function anyAddress(port: number): AdminListen {
  return { kind: 'tcp', host: '::', port };
}

/** Loopback only, and a unix socket that our own user reaches from every namespace. */
function adminListen({ adminPort: port, adminPath: path }: WaypointConfig): AdminListen[] {
  const loopback = ['127.0.0.1', '::1'].map((host) => ({ kind: 'tcp', host, port }) as const);
  return path === undefined ? loopback : [...loopback, { kind: 'unix', path }];
}
