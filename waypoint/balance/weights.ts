import type { Endpoint } from './endpoint.ts';

/** Whether all endpoints are to get the same share. */
export function haveOneWeight(endpoints: readonly Endpoint[]): boolean {
  const first = endpoints[0]?.weight;
  return endpoints.every(({ weight }) => weight === first);
}
