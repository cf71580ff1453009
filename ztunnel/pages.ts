import { dumpCertificate, dumpPods, type Json } from '../mesh/admin/config-dump.ts';
import { jsonPage, textPage, type AdminResponse, type AdminRoute } from '../mesh/admin/server.ts';
import type { CertificateManager, CertificateState } from '../certs/manager.ts';
import type { WorkloadUid } from '../mesh/model/workload.ts';
import type { DataThreads } from '../mesh/runtime/data-threads.ts';
import { formatLogLevels, parseLogLevels, type Log, type LogLevels } from '../mesh/runtime/log.ts';
import {
  formatMetrics,
  mergeSnapshots,
  METRICS_CONTENT_TYPES,
  metricsFormatFor,
} from '../mesh/runtime/metrics-text.ts';
import type { Metrics } from '../mesh/runtime/metrics.ts';
import type { Readiness } from '../mesh/runtime/readiness.ts';
import type { ZtunnelConfig } from './config.ts';
import type { StateDump } from './dump.ts';
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
  const post = (path: string, description: string, handle: AdminRoute['handle']): AdminRoute => ({
    ...{ method: 'POST', path, description, handle },
  });
  const initialLevels = parts.log.levels();
  return [
    get('/config_dump', 'everything this proxy knows', () => configDump(parts)),
    get('/explain', 'why a connection is carried or refused', ({ query }) => explain(parts, query)),
    get('/xds', 'the stream to the control plane', () => jsonPage(parts.xdsStatus())),
    get('/metrics', 'metrics', ({ headers }) => metricsPage(parts, headers.accept)),
    get('/healthz/ready', 'readiness', () => readinessPage(parts.readiness)),
    post('/logging', 'level=<spec> sets, reset restores the log levels', ({ query }) =>
      logging(parts, query, initialLevels),
    ),
    post('/quitquitquit', 'ends this proxy in order', () => {
      parts.stop('quitquitquit');
      return textPage('shutting down\n');
    }),
  ];
}

/** The pages of the metrics port. */
export function statsRoutes(parts: PageParts): readonly AdminRoute[] {
  return ['/metrics', '/stats/prometheus'].map((path) => ({
    ...{ method: 'GET' as const, path, description: 'metrics' },
    handle: ({ headers }) => metricsPage(parts, headers.accept),
  }));
}

/** The page of the readiness port. */
export function readinessRoutes(readiness: Readiness): readonly AdminRoute[] {
  const handle = (): AdminResponse => readinessPage(readiness);
  return [{ method: 'GET', path: '/healthz/ready', description: 'readiness', handle }];
}

function readinessPage(readiness: Readiness): AdminResponse {
  const ready = readiness.pending().length === 0;
  return textPage(`${readiness.describe()}\n`, ready ? 200 : 500);
}

async function metricsPage(parts: PageParts, accept: string | undefined): Promise<AdminResponse> {
  const format = metricsFormatFor(accept);
  const threads = await parts.threads.callAll('metrics', null);
  const merged = mergeSnapshots([parts.metrics.snapshot(), ...threads]);
  return { contentType: METRICS_CONTENT_TYPES[format], body: formatMetrics(merged, format) };
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
    config: dumpSettings(config),
    certificates: [...certificates.states()].map(([identity, at]) =>
      dumpCertificate({ identity, ...dumpCertificateState(at) }),
    ),
    workloadState: dumpPods(entries),
  });
}

function dumpCertificateState(
  at: CertificateState,
): Pick<Parameters<typeof dumpCertificate>[0], 'state' | 'certificate'> {
  switch (at.kind) {
    case 'Available':
      return { state: { kind: 'available' }, certificate: at.certificate };
    case 'Initializing':
      return { state: { kind: 'initializing' } };
    case 'Unavailable':
      return { state: { kind: 'unavailable', reason: at.reason } };
  }
}

/** Every setting but the token, which may be given literally, and headers, which may hold one. */
function dumpSettings({
  authToken: _token,
  xdsHeaders: _xdsHeaders,
  caHeaders: _caHeaders,
  ...config
}: ZtunnelConfig): Json {
  return JSON.parse(
    JSON.stringify(config, (_name, value: unknown) =>
      value instanceof Map ? (Object.fromEntries(value) as unknown) : value,
    ),
  ) as Json;
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

async function logging(
  parts: PageParts,
  query: URLSearchParams,
  initial: LogLevels,
): Promise<AdminResponse> {
  const spec = query.get('level');
  const current = parts.log.levels();
  const wanted = query.has('reset') ? initial : current;
  const levels = spec === null ? wanted : parseLogLevels(spec);
  parts.log.setLevels(levels);
  await parts.threads.callAll('logLevels', levels);
  return textPage(`current log level is ${formatLogLevels(levels)}\n`);
}
