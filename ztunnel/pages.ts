import { dumpPods, type Json } from '../mesh/admin/config-dump.ts';
import { profileRoutes } from '../mesh/admin/profile-routes.ts';
import { jsonPage, textPage, type AdminResponse, type AdminRoute } from '../mesh/admin/server.ts';
import {
  loggingRoute,
  metricsRoutes,
  quitRoute,
  readinessRoute,
} from '../mesh/admin/standard-routes.ts';
import type { CertificateManager } from '../certs/manager.ts';
import type { WorkloadUid } from '../mesh/model/workload.ts';
import { dumpCertificates } from '../mesh/proxy/dump-certificates.ts';
import { dumpConfig } from '../mesh/proxy/dump-config.ts';
import type { StateDump } from '../mesh/proxy/dump-state.ts';
import { profiledThreads } from '../mesh/proxy/thread-profiles.ts';
import type { DataThreads } from '../mesh/runtime/data-threads.ts';
import type { Log } from '../mesh/runtime/log.ts';
import type { Metrics, MetricsSnapshot } from '../mesh/runtime/metrics.ts';
import type { Readiness } from '../mesh/runtime/readiness.ts';
import type { ZtunnelConfig } from './config.ts';
import type { PodManager } from './pod-manager.ts';
import type { ControlCalls, DataThreadCalls, ExplainRequest } from './thread-calls.ts';

export type PageParts = Readonly<{
  config: ZtunnelConfig;
  log: Log;
  metrics: Metrics;
  readiness: Readiness;
  threads: DataThreads<ControlCalls, DataThreadCalls>;
  certificates: CertificateManager;
  pods: PodManager;
  /** Of the stream to the control plane. */
  xdsStatus: () => Json;
  stop: (reason: string) => void;
}>;

/** The pages of the admin port: loopback and unix socket only. */
export function adminRoutes(parts: PageParts): readonly AdminRoute[] {
  const get = (path: string, description: string, handle: AdminRoute['handle']): AdminRoute => ({
    ...{ method: 'GET', path, description, handle },
  });
  return [
    get('/config_dump', 'Everything that this proxy knows', () => configDump(parts)),
    get('/explain', 'Why a connection is carried or refused', ({ query }) => explain(parts, query)),
    get('/xds', 'The stream to the control plane', () => jsonPage(parts.xdsStatus())),
    ...metricsRoutes(() => collectMetrics(parts)),
    ...readinessRoutes(parts.readiness),
    loggingRoute(parts.log.levels(), async (levels) => {
      parts.log.setLevels(levels);
      await parts.threads.callAll('logLevels', levels);
    }),
    ...profileRoutes(profiledThreads(parts.threads)),
    quitRoute(parts.stop),
  ];
}

/** The pages of the metrics port. */
export function statsRoutes(parts: PageParts): readonly AdminRoute[] {
  return metricsRoutes(() => collectMetrics(parts));
}

/** The page of the readiness port. */
export function readinessRoutes(readiness: Readiness): readonly AdminRoute[] {
  return [readinessRoute(readiness, '/healthz/ready')];
}

async function collectMetrics({ metrics, threads }: PageParts): Promise<MetricsSnapshot[]> {
  return [metrics.snapshot(), ...(await threads.callAll('metrics', null))];
}

async function configDump(parts: PageParts): Promise<AdminResponse> {
  const { threads, pods, certificates, config } = parts;
  const state = JSON.parse(await threads.link(0).call('dump', null)) as StateDump;
  const live = (await threads.callAll('connections', null)).flat();
  const entries = [...pods.pods()].map(([uid, info]) => ({
    ...{ uid, state: 'Up' as const, ...info },
    connections: live.filter(({ podUid }) => podUid === uid).map(({ connection }) => connection),
  }));
  return jsonPage({
    ...state,
    stagedServices: {},
    staticConfig: { workloads: [], services: [], policies: [] },
    version: { version: config.buildVersion, component: 'ztunnel' },
    config: dumpConfig(config),
    certificates: dumpCertificates(certificates),
    workloadState: dumpPods(entries),
  });
}

async function explain(parts: PageParts, query: URLSearchParams): Promise<AdminResponse> {
  const request = readExplainRequest(query);
  if (request === undefined)
    return textPage(
      'Cannot explain: give src=<workload uid>&destination=<ip:port>, or workload=<uid>&peer=<ip>&identity=<spiffe id>&target=<ip:port>\n',
      400,
    );
  const answer = await parts.threads.link(0).call('explain', request);
  return jsonPage(answer, 'error' in answer ? 404 : 200);
}

function readExplainRequest(query: URLSearchParams): ExplainRequest | undefined {
  const [source, destination] = [query.get('src'), query.get('destination')];
  if (source !== null && destination !== null)
    return { direction: 'outbound', source: source as WorkloadUid, destination };
  const [workload, peerIp, target] = [
    query.get('workload'),
    query.get('peer'),
    query.get('target'),
  ];
  if (workload === null || peerIp === null || target === null) return undefined;
  return {
    direction: 'inbound',
    workload: workload as WorkloadUid,
    ...{ peerIp, target },
    peerIdentity: query.get('identity') ?? undefined,
  };
}
