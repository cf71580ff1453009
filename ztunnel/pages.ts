import { dumpPods } from '../mesh/admin/config-dump.ts';
import { jsonPage, textPage, type AdminResponse, type AdminRoute } from '../mesh/admin/server.ts';
import type { CertificateManager } from '../certs/manager.ts';
import type { WorkloadUid } from '../mesh/model/workload.ts';
import { dumpCertificates } from '../mesh/proxy/dump-certificates.ts';
import { dumpConfig } from '../mesh/proxy/dump-config.ts';
import type { StateDump } from '../mesh/proxy/dump-state.ts';
import { getRoute, proxyRoutes, type ProxyPageParts } from '../mesh/proxy/proxy-pages.ts';
import type { DataThreads } from '../mesh/runtime/data-threads.ts';
import type { ZtunnelConfig } from './config.ts';
import type { PodManager } from './pod-manager.ts';
import type { ControlCalls, DataThreadCalls, ExplainRequest } from './thread-calls.ts';

export type PageParts = Omit<ProxyPageParts, 'threads'> &
  Readonly<{
    config: ZtunnelConfig;
    threads: DataThreads<ControlCalls, DataThreadCalls>;
    certificates: CertificateManager;
    pods: PodManager;
  }>;

/** The pages of the admin port: loopback and unix socket only. */
export function adminRoutes(parts: PageParts): readonly AdminRoute[] {
  return [
    getRoute('/config_dump', 'Everything that this proxy knows', () => configDump(parts)),
    getRoute('/explain', 'Why a connection is carried or refused', ({ query }) =>
      explain(parts, query),
    ),
    ...proxyRoutes(parts),
  ];
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
