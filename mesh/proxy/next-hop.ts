import { familyOf, type IpAddress } from '../../base/address.ts';
import { permittedFamilies, selectAddress } from '../model/endpoint.ts';
import { parseSpiffeId, type SpiffeId } from '../model/identity.ts';
import type { Service } from '../model/service.ts';
import { workloadIdentity, type Workload } from '../model/workload.ts';

/** Ask again when the name has been resolved. */
export type Resolve = Readonly<{ kind: 'resolve'; hostname: string; workload: Workload }>;

/** A choice of an address, and what is known for it. */
export type AddressRequest = Readonly<{
  /** What the client dialled: an address of its family is preferred. */
  destination: Readonly<{ ip: IpAddress }>;
  /** Names that were resolved, to nothing where a name has no address. */
  resolved: ReadonlyMap<string, readonly IpAddress[]>;
  /** From 0 to below 1. */
  random: () => number;
}>;

/** An address to dial a workload at, `undefined` where there is none, or the wish to have its name resolved. */
export function addressOf(
  request: AddressRequest,
  workload: Workload,
  service: Service | undefined,
): IpAddress | Resolve | undefined {
  const asked = request.destination.ip;
  const families = permittedFamilies(service?.ipFamilies ?? 'AUTOMATIC', familyOf(asked));
  const own = selectAddress(workload.addresses, asked, families);
  if (own !== undefined || workload.addresses.length > 0 || workload.hostname === '') return own;
  const resolved = request.resolved.get(workload.hostname);
  if (resolved === undefined) return { kind: 'resolve', hostname: workload.hostname, workload };
  for (const family of families) {
    const candidates = resolved.filter((ip) => familyOf(ip) === family);
    const chosen = candidates[Math.floor(request.random() * candidates.length)];
    if (chosen !== undefined) return chosen;
  }
  return undefined;
}

/** Who is accepted at the next hop: what its service names, and the workload itself. */
export function peersOf(workload: Workload, service: Service | undefined): readonly SpiffeId[] {
  const own = workloadIdentity(workload);
  const named = parseSans(service?.subjectAltNames ?? []);
  return named.includes(own) ? named : [own, ...named];
}

/** Those of a service's names that are workload identities; others are never accepted of a peer. */
export function parseSans(names: readonly string[]): readonly SpiffeId[] {
  return names.flatMap((name) => {
    try {
      return [parseSpiffeId(name)];
    } catch {
      return [];
    }
  });
}
