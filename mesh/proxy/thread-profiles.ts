import type { ProfiledThread } from '../admin/profile-routes.ts';
import { HeapSampling, profileCpu, type CpuProfileOptions } from '../runtime/profile.ts';

/** What a data thread answers about itself. */
export type ProfileCalls = {
  /** As `.cpuprofile` and `.heapprofile` files have it; null while nothing is sampled. */
  cpuProfile: { request: CpuProfileOptions; response: string };
  heapSampling: { request: { active: boolean }; response: null };
  heapProfile: { request: null; response: string | null };
};

export type ProfiledThreads = Readonly<{
  count: number;
  link(index: number): Readonly<{
    call<Name extends keyof ProfileCalls>(
      name: Name,
      request: ProfileCalls[Name]['request'],
    ): Promise<ProfileCalls[Name]['response']>;
  }>;
}>;

/** The threads of a proxy, for its pages of profiles: this one and the data threads. */
export function profiledThreads(threads: ProfiledThreads): ReadonlyMap<string, ProfiledThread> {
  const heap = new HeapSampling();
  const control: ProfiledThread = {
    profileCpu,
    activateHeapSampling: (active) => heap.activate(active),
    heapProfile: () => heap.profile(),
  };
  const data = Array.from({ length: threads.count }, (_, index): [string, ProfiledThread] => [
    `data-${index}`,
    {
      profileCpu: (options) => threads.link(index).call('cpuProfile', options),
      activateHeapSampling: (active) => threads.link(index).call('heapSampling', { active }),
      heapProfile: async () => (await threads.link(index).call('heapProfile', null)) ?? undefined,
    },
  ]);
  return new Map([['control', control], ...data]);
}
