import type { CertificateManager } from '../certs/manager.ts';
import { jsonPage, textPage, type AdminResponse, type AdminRoute } from '../mesh/admin/server.ts';
import { dumpCertificates } from '../mesh/proxy/dump-certificates.ts';
import { dumpConfig } from '../mesh/proxy/dump-config.ts';
import type { StateDump } from '../mesh/proxy/dump-state.ts';
import { getRoute, proxyRoutes, type ProxyPageParts } from '../mesh/proxy/proxy-pages.ts';
import type { DataThreads } from '../mesh/runtime/data-threads.ts';
import type { WaypointConfig } from './config.ts';
import type { EndpointEvents } from './endpoint-events.ts';
import { joinReports } from './endpoint-report.ts';
import { readTapFilter } from './tap-filter.ts';
import type { TapStreams } from './tap-streams.ts';
import type { ControlCalls, DataThreadCalls } from './thread-calls.ts';

export type PageParts = Omit<ProxyPageParts, 'threads'> &
  Readonly<{
    config: WaypointConfig;
    threads: DataThreads<ControlCalls, DataThreadCalls>;
    certificates: CertificateManager;
    taps: TapStreams;
    events: EndpointEvents;
  }>;

/** The pages of the admin port: loopback and unix socket only. */
export function adminRoutes(parts: PageParts): readonly AdminRoute[] {
  return [
    getRoute('/config_dump', 'Everything that this proxy knows', () => configDump(parts)),
    getRoute(
      '/tap',
      'Requests as they end: ?service=&method=&path=&status=&source=&header=name:value',
      (request) => tapPage(parts, request.query),
    ),
    getRoute(
      '/explain',
      'What becomes of a request: ?source=&identity=&target=&method=&path=',
      (request) => explain(parts, request.query),
    ),
    getRoute('/endpoints', 'What requests are sent to, and how each endpoint is', async () =>
      jsonPage(joinReports(await parts.threads.callAll('endpoints', null))),
    ),
    getRoute('/events', 'What happened to endpoints: ejections and health checks', () =>
      jsonPage(parts.events.all()),
    ),
    ...proxyRoutes(parts),
  ];
}

async function configDump({ threads, certificates, config }: PageParts): Promise<AdminResponse> {
  const state = JSON.parse(await threads.link(0).call('dump', null)) as StateDump;
  const open = await threads.callAll('connections', null);
  const shown = { ...config, redisUrl: hiddenUrl(config.redisUrl) };
  return jsonPage({
    ...state,
    connections: open.reduce((sum, count) => sum + count, 0),
    version: { version: config.buildVersion, component: 'waypoint' },
    config: dumpConfig(shown),
    certificates: dumpCertificates(certificates),
  });
}

/** A line of JSON for each request, as long as the client stays. */
function tapPage({ taps, config }: PageParts, query: URLSearchParams): AdminResponse {
  const filter = readTapFilter(query);
  return {
    contentType: 'application/x-ndjson',
    body: '',
    stream: (signal) => taps.stream(filter, config.podName, signal),
  };
}

async function explain({ threads }: PageParts, query: URLSearchParams): Promise<AdminResponse> {
  const [source, target] = [query.get('source'), query.get('target')];
  if (source === null || target === null)
    return textPage(
      'Cannot explain: give source=<ip>&identity=<spiffe id>&target=<ip:port>\n',
      400,
    );
  const answer = await threads.link(0).call('explain', {
    ...{ source, target, identity: query.get('identity') ?? undefined },
    ...{ method: query.get('method') ?? 'GET', path: query.get('path') ?? '/' },
    headers: query.getAll('header').map((header): readonly [string, string] => {
      const at = header.indexOf(':');
      return [header.slice(0, at).trim().toLowerCase(), header.slice(at + 1).trim()];
    }),
  });
  return jsonPage(answer, 'error' in answer ? 404 : 200);
}

/** A URL may hold a password; that there is one is no secret. */
function hiddenUrl(url: string | undefined): string | undefined {
  return url === undefined ? undefined : '<hidden>';
}
