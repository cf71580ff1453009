import { formatObject, objectKey } from '../mesh/kubernetes/object.ts';
import { formatProblem, type ConfigProblem } from '../mesh/kubernetes/problem.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../mesh/xds/codec.ts';
import type { Snapshot } from './snapshot.ts';
import type { MeshResource } from './translate/mesh-resource.ts';
import { allConditions, type Translator } from './translate/translator.ts';
import type { WaitResult, XdsServer } from './xds/server.ts';

export type PageParts = Readonly<{
  snapshot: Snapshot;
  translator: Translator;
  xds: XdsServer;
  problems: () => readonly ConfigProblem[];
  describeCa: () => unknown;
  /** Takes in what was written until now and returns the revision that has it. */
  refresh: () => Promise<number>;
}>;

const DEFAULT_WAIT_S = 30;
const MAX_WAIT_S = 600;

/** What a page answers; serialised as JSON by whoever serves it. */
export type PageAnswer = Readonly<{ status: number; value: unknown }>;

/** The debug pages by path. Each takes its query. */
export function debugPages(
  parts: PageParts,
): ReadonlyMap<string, (query: URLSearchParams) => Promise<PageAnswer> | PageAnswer> {
  const { snapshot, translator, xds } = parts;
  return new Map<string, (query: URLSearchParams) => Promise<PageAnswer> | PageAnswer>([
    [
      '/debug/syncz',
      () =>
        ok({
          revision: xds.revision,
          proxies: xds.proxies().map((proxy) => ({
            ...proxy,
            rejections: proxy.rejections.map((each) => ({ ...each, names: [...each.names] })),
          })),
        }),
    ],
    ['/debug/ambientz', () => ok(ambient(translator))],
    [
      '/debug/snapshotz',
      () =>
        ok({
          revision: snapshot.revision,
          objects: [...snapshot.objects()].map(({ ref, metadata }) => ({
            ...ref,
            ...{ uid: metadata.uid, labels: plain(metadata.labels) },
            conditions: translator.statusOf(objectKey(ref))?.conditions ?? [],
            parents: translator.statusOf(objectKey(ref))?.parents ?? [],
            ancestors: translator.statusOf(objectKey(ref))?.ancestors ?? [],
          })),
        }),
    ],
    [
      '/debug/errors',
      () =>
        ok({
          revision: snapshot.revision,
          problems: parts
            .problems()
            .map((problem) => ({ ...problem, text: formatProblem(problem) })),
          conditions: [...translator.statuses()].flatMap((object) =>
            allConditions(object)
              .filter(({ status, reason }) => status === 'False' || reason === 'UnsupportedValue')
              .map((condition) => ({ object: formatObject(object.ref), ...condition })),
          ),
        }),
    ],
    ['/debug/ca', () => ok(parts.describeCa())],
    ['/debug/wait', async (query) => waitPage(parts, query)],
  ]);
}

async function waitPage({ xds, refresh }: PageParts, query: URLSearchParams): Promise<PageAnswer> {
  const revisionText = query.get('revision') ?? '';
  const timeoutText = query.get('timeout') ?? String(DEFAULT_WAIT_S);
  const seconds = /^\d{1,4}(?:\.\d{1,3})?$/.test(timeoutText) ? Number(timeoutText) : NaN;
  if (!(seconds <= MAX_WAIT_S))
    return { status: 400, value: { error: `timeout must be 0 to ${MAX_WAIT_S} seconds` } };
  if (revisionText !== '' && !/^\d{1,15}$/.test(revisionText))
    return { status: 400, value: { error: 'revision must be a whole number' } };
  // Without a number: everything that was written before the question.
  const revision = revisionText === '' ? await refresh() : Number(revisionText);
  const result: WaitResult = await xds.waitFor(revision, seconds * 1000);
  return { status: 200, value: result };
}

/** What proxies get, in the form of upstream's page of that name. */
function ambient(translator: Translator): unknown {
  const addresses = [...(translator.resources(ADDRESS_TYPE)?.values() ?? [])];
  const policies = [...(translator.resources(AUTHORIZATION_TYPE)?.values() ?? [])];
  const of = (resources: readonly MeshResource[], kind: string): unknown[] =>
    resources.flatMap(({ content, version }) => {
      if (content.kind !== kind || content.kind === 'waypoint config') return [];
      const value =
        content.kind === 'workload'
          ? {
              ...content.workload,
              services: plain(content.workload.services),
              labels: plain(content.workload.labels ?? new Map()),
            }
          : content.kind === 'service'
            ? content.service
            : content.policy;
      return [{ ...value, version }];
    });
  return {
    workloads: of(addresses, 'workload'),
    services: of(addresses, 'service'),
    policies: of(policies, 'policy'),
  };
}

function ok(value: unknown): PageAnswer {
  return { status: 200, value };
}

function plain(map: ReadonlyMap<string, unknown>): unknown {
  return Object.fromEntries(map);
}
