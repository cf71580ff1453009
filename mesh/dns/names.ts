import { familyOf, type AddressFamily, type IpAddress } from '../../base/address.ts';
import { serviceKey, type Service, type ServiceKey } from '../model/service.ts';
import type { Workload } from '../model/workload.ts';

/** What is asked of the mesh's state. */
export interface ServiceLookup {
  /** The services with exactly this host name, which may begin with `*.`. */
  servicesByHost(hostname: string): readonly Service[];
  /** The endpoints of a service, healthy or not, by workload. */
  endpoints(key: ServiceKey): ReadonlyMap<string, Workload>;
}

/** Who asks, and under which settings. */
export type NameScope = Readonly<{
  clientNamespace: string;
  /** The client's own network; addresses of others are of no use to it. */
  network: string;
  clusterDomain: string;
  preferredNamespace?: string | undefined;
  ipv6: boolean;
}>;

export type NameResult = Readonly<
  /** No name of the mesh. */
  | { kind: 'forward' }
  /** `addresses` may be empty: the name is ours, but has no address of that family. */
  | { kind: 'answer'; canonicalName: string | undefined; addresses: readonly IpAddress[] }
>;

/** Deeper than any name of a service; beyond it, wildcards are not looked for. */
const MAX_LABELS = 32;

/** Resolves a lower-case name as a client of the mesh means it. Pure. */
export function resolveName(
  lookup: ServiceLookup,
  scope: NameScope,
  name: string,
  family: AddressFamily,
): NameResult {
  for (const { host, stripped } of candidates(name, scope)) {
    for (const pattern of [host, ...wildcardsOf(host)]) {
      const service = chooseService(lookup.servicesByHost(pattern), scope);
      if (service === undefined) continue;
      const wildcard = pattern.startsWith('*.');
      return {
        kind: 'answer',
        canonicalName: wildcard ? undefined : stripped,
        addresses: familyAllowed(service, scope, family)
          ? addressesOf(lookup, service, scope).filter((ip) => familyOf(ip) === family)
          : [],
      };
    }
  }
  return { kind: 'forward' };
}

type Candidate = Readonly<{ host: string; stripped: string | undefined }>;

/**
 * The host names that a name may stand for, in order: itself and its completions, then the same for what is left of it
 * without each search suffix, which a client's resolver has put behind it.
 */
export function candidates(
  name: string,
  { clientNamespace, clusterDomain }: Pick<NameScope, 'clientNamespace' | 'clusterDomain'>,
): Candidate[] {
  if (name === '' || name.split('.').length > MAX_LABELS) return [];
  const found: Candidate[] = [];
  const add = (base: string, stripped: string | undefined): void => {
    for (const host of [base, ...completions(base, clientNamespace, clusterDomain)])
      found.push({ host, stripped });
  };
  add(name, undefined);
  const svc = `svc.${clusterDomain}`;
  for (const suffix of [`.${clientNamespace}.${svc}`, `.${svc}`, `.${clusterDomain}`]) {
    if (!name.endsWith(suffix) || name.length === suffix.length) continue;
    const stripped = name.slice(0, -suffix.length);
    add(stripped, stripped);
  }
  return found;
}

/** The forms in which Kubernetes lets a service be named: `name`, `name.ns`, `name.ns.svc`. */
function completions(name: string, namespace: string, domain: string): string[] {
  const labels = name.split('.');
  const inSvc = labels.at(-1) === 'svc';
  switch (labels.length) {
    case 1:
      return [`${name}.${namespace}.svc.${domain}`];
    case 2:
      return [`${name}.svc.${domain}`, `${name}.${namespace}.svc.${domain}`];
    case 3:
      return [...(inSvc ? [`${name}.${domain}`] : []), `${name}.svc.${domain}`];
    case 4:
      return inSvc ? [`${name}.${domain}`] : [];
    default:
      return [];
  }
}

/** `*.b.c` and `*.c` for `a.b.c`, the most specific first. */
function wildcardsOf(host: string): string[] {
  const labels = host.split('.');
  return labels.slice(1).map((_, index) => `*.${labels.slice(index + 1).join('.')}`);
}

/** Of services with one host name, the one that the client means; of those that it may see and that can be resolved. */
function chooseService(services: readonly Service[], scope: NameScope): Service | undefined {
  const usable = services.filter(
    (service) =>
      (!service.namespaceOnly || service.namespace === scope.clientNamespace) &&
      (service.addresses.length > 0 || service.hostname.endsWith(`.svc.${scope.clusterDomain}`)),
  );
  return (
    usable.find((service) => service.namespace === scope.clientNamespace) ??
    usable.find((service) => service.canonical) ??
    usable.find((service) => service.namespace === scope.preferredNamespace) ??
    usable[0]
  );
}

function familyAllowed(service: Service, scope: NameScope, family: AddressFamily): boolean {
  if (family === 6) return scope.ipv6 && service.ipFamilies !== 'IPV4_ONLY';
  return service.ipFamilies !== 'IPV6_ONLY';
}

function addressesOf(lookup: ServiceLookup, service: Service, scope: NameScope): IpAddress[] {
  if (service.addresses.length > 0)
    return service.addresses
      .filter(({ network, prefix }) => network === scope.network && prefix === undefined)
      .map(({ ip }) => ip);
  // Headless: one address an endpoint and family.
  const found: IpAddress[] = [];
  for (const workload of lookup
    .endpoints(serviceKey(service.namespace, service.hostname))
    .values()) {
    if (workload.network !== scope.network) continue;
    if (!workload.healthy && !service.loadBalancing.allowUnhealthy) continue;
    for (const family of [4, 6]) {
      const ip = workload.addresses.find((address) => familyOf(address) === family);
      if (ip !== undefined) found.push(ip);
    }
  }
  return found;
}
