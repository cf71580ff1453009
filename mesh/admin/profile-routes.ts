import { MeshError } from '../../base/errors.ts';
import type { CpuProfileOptions } from '../runtime/profile.ts';
import { textPage, type AdminResponse, type AdminRoute } from './server.ts';

/** What the pages ask of one thread; the texts are JSON. */
export type ProfiledThread = Readonly<{
  profileCpu(options: CpuProfileOptions): Promise<string>;
  activateHeapSampling(active: boolean): Promise<unknown>;
  heapProfile(): Promise<string | undefined>;
}>;

/** Bounds and defaults are istio/ztunnel's. */
const SECONDS = { fallback: 10, max: 300 };
const FREQUENCY = { fallback: 100, max: 1000 };

/**
 * Profiles of all threads under the paths of istio/ztunnel, as one JSON object by thread, or with `?thread=NAME` of one
 * as the file that developer tools open. One CPU profile at a time.
 */
export function profileRoutes(threads: ReadonlyMap<string, ProfiledThread>): readonly AdminRoute[] {
  let busy = false;
  return [
    {
      ...{ method: 'GET', path: '/debug/pprof/profile' },
      description: `CPU profile: ?seconds=1..300&frequency=1..1000&thread=${[...threads.keys()].join('|')}`,
      async handle({ query }) {
        const options = {
          seconds: readInteger(query, 'seconds', SECONDS),
          frequency: readInteger(query, 'frequency', FREQUENCY),
        };
        const chosen = chooseThreads(threads, query);
        if (busy) return textPage('Another profile is being taken\n', 429);
        busy = true;
        try {
          return await profilePage(chosen, query, (thread) => thread.profileCpu(options));
        } finally {
          busy = false;
        }
      },
    },
    {
      ...{ method: 'GET', path: '/debug/pprof/heap' },
      description: 'Who holds memory, once /debug/pprof/heap/profiling is on: ?thread=',
      async handle({ query }) {
        const chosen = chooseThreads(threads, query);
        const inactive =
          'Nothing is sampled: POST /debug/pprof/heap/profiling?activate=true first\n';
        return await profilePage(chosen, query, (thread) => thread.heapProfile(), inactive);
      },
    },
    {
      ...{ method: 'POST', path: '/debug/pprof/heap/profiling' },
      description: 'Sampling of allocations: ?activate=true|false',
      async handle({ query }) {
        const wish = query.get('activate');
        if (wish !== 'true' && wish !== 'false') throw badParameter('activate', 'true or false');
        for (const thread of threads.values()) await thread.activateHeapSampling(wish === 'true');
        return textPage(`heap sampling is ${wish === 'true' ? 'on' : 'off'}\n`);
      },
    },
  ];
}

async function profilePage(
  threads: ReadonlyMap<string, ProfiledThread>,
  query: URLSearchParams,
  take: (thread: ProfiledThread) => Promise<string | undefined>,
  missing = '',
): Promise<AdminResponse> {
  const names = [...threads.keys()];
  const profiles = await Promise.all([...threads.values()].map(take));
  const parts = profiles.flatMap((text, index) =>
    text === undefined ? [] : [`${JSON.stringify(names[index])}:${text}`],
  );
  if (parts.length === 0) return textPage(missing, 409);
  const [first = ''] = profiles;
  const body = query.has('thread') ? first : `{${parts.join(',')}}`;
  return { contentType: 'application/json', body };
}

function chooseThreads(
  threads: ReadonlyMap<string, ProfiledThread>,
  query: URLSearchParams,
): ReadonlyMap<string, ProfiledThread> {
  const name = query.get('thread');
  if (name === null) return threads;
  const thread = threads.get(name);
  if (thread === undefined) throw badParameter('thread', [...threads.keys()].join(', '));
  return new Map([[name, thread]]);
}

function readInteger(
  query: URLSearchParams,
  name: string,
  { fallback, max }: Readonly<{ fallback: number; max: number }>,
): number {
  const text = query.get(name);
  if (text === null) return fallback;
  const value = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (value < 1 || value > max) throw badParameter(name, `a number from 1 to ${max}`);
  return value;
}

function badParameter(name: string, expected: string): MeshError {
  return new MeshError('ERR_PROFILE', 'downstream', `Cannot profile: ${name} is not ${expected}`);
}
