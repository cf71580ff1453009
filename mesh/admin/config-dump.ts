import { X509Certificate } from 'node:crypto';
import { formatCidr, formatSocketAddress, type SocketAddress } from '../../base/address.ts';
import type { AuthorizationPolicy, PolicyMatch, StringMatch } from '../model/authorization.ts';
import type { WorkloadCertificate } from '../model/certificate.ts';
import type { GatewayAddress } from '../model/gateway-address.ts';
import type { SpiffeId } from '../model/identity.ts';
import type { NetworkAddress, PortMapping, Service } from '../model/service.ts';
import type { Workload } from '../model/workload.ts';

/** JSON that a page shows. `istioctl ztunnel-config` reads these names, so they are Istio's. */
export type Json =
  | string
  | number
  | boolean
  | null
  | readonly Json[]
  | { readonly [name: string]: Json };

export type CertificateState = Readonly<
  { kind: 'available' } | { kind: 'initializing' } | { kind: 'unavailable'; reason: string }
>;

export type CertificateEntry = Readonly<{
  identity: SpiffeId;
  state: CertificateState;
  certificate?: WorkloadCertificate | undefined;
}>;

export type LiveConnection = Readonly<{
  direction: 'inbound' | 'outbound';
  source: SocketAddress;
  /** Inbound: the service's host name, when one was called. Outbound: the address that the app dialled. */
  originalDestination: string | SocketAddress | undefined;
  actualDestination: SocketAddress;
  protocol: 'HBONE' | 'TCP';
}>;

/** A pod that the node agent handed over. */
export type PodEntry = Readonly<{
  uid: string;
  state: 'Up' | 'Pending';
  name: string;
  namespace: string;
  serviceAccount: string;
  connections: readonly LiveConnection[];
}>;

export type ConfigDumpSources = Readonly<{
  workloads: Iterable<Workload>;
  services: Iterable<Service>;
  policies: Iterable<AuthorizationPolicy>;
  /** The endpoints of a service, whether healthy or not. */
  endpointsOf: (service: Service) => Iterable<Workload>;
  certificates: Iterable<CertificateEntry>;
  pods: Iterable<PodEntry>;
  version: Json;
  /** Without secrets. */
  config: Json;
}>;

/** The whole of `/config_dump`. */
export function dumpConfig(sources: ConfigDumpSources): Json {
  const services = sortBy(
    sources.services,
    (service) => `${service.namespace}/${service.hostname}`,
  );
  return {
    workloads: sortBy(sources.workloads, (workload) => workload.uid).map(dumpWorkload),
    services: services.map((service) => dumpService(service, sources.endpointsOf(service))),
    policies: sortBy(sources.policies, (policy) => `${policy.namespace}/${policy.name}`).map(
      dumpPolicy,
    ),
    stagedServices: {},
    staticConfig: { workloads: [], services: [], policies: [] },
    version: sources.version,
    config: sources.config,
    certificates: sortBy(sources.certificates, (entry) => entry.identity).map(dumpCertificate),
    workloadState: dumpPods(sources.pods),
  };
}

export function dumpWorkload(workload: Workload): Json {
  const { uid, name, namespace, serviceAccount, trustDomain, network, node, hostname } = workload;
  const { canonicalName, canonicalRevision, workloadName, clusterId, capacity, locality } =
    workload;
  return {
    ...{ uid, name, namespace, serviceAccount, trustDomain, network, node, hostname },
    workloadIps: [...workload.addresses],
    protocol: workload.tunnelProtocol === 'HBONE' ? 'HBONE' : 'TCP',
    nativeTunnel: workload.nativeTunnel,
    ...{ canonicalName, canonicalRevision, workloadName, clusterId, capacity },
    workloadType: workload.workloadType.toLowerCase(),
    status: workload.healthy ? 'Healthy' : 'Unhealthy',
    locality: { region: locality.region, zone: locality.zone, subzone: locality.subzone },
    services: [...workload.services.keys()].sort(),
    authorizationPolicies: [...workload.authorizationPolicies],
    ...optional('waypoint', workload.waypoint, dumpGateway),
    ...optional('waypointProblem', workload.waypointProblem, (reason) => reason),
    ...optional('networkGateway', workload.networkGateway, dumpGateway),
    ...optional('applicationTunnel', workload.applicationTunnel, ({ port }) => ({ port })),
  };
}

export function dumpService(service: Service, endpoints: Iterable<Workload>): Json {
  const { name, namespace, hostname, subjectAltNames, loadBalancing } = service;
  const key = `${namespace}/${hostname}`;
  return {
    ...{ name, namespace, hostname },
    vips: service.addresses.map(formatNetworkAddress),
    ports: dumpPorts(service.ports),
    endpoints: Object.fromEntries(
      sortBy(endpoints, (workload) => workload.uid).map((workload) => {
        const own = [...workload.services].find(([each]) => each === key)?.[1] ?? [];
        const status = workload.healthy ? 'Healthy' : 'Unhealthy';
        return [workload.uid, { workloadUid: workload.uid, port: dumpPorts(own), status }];
      }),
    ),
    subjectAltNames: [...subjectAltNames],
    loadBalancer: {
      mode: loadBalancing.mode === 'UNSPECIFIED' ? 'Standard' : capitalize(loadBalancing.mode),
      routingPreferences: loadBalancing.routingPreference.map(capitalize),
      healthPolicy: loadBalancing.allowUnhealthy ? 'AllowAll' : 'OnlyHealthy',
    },
    ipFamilies: service.ipFamilies,
    canonical: service.canonical,
    ...optional('waypoint', service.waypoint, dumpGateway),
    ...optional('waypointProblem', service.waypointProblem, (reason) => reason),
    weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
      waypoint: dumpGateway(destination),
      weight,
    })),
  };
}

export function dumpPolicy(policy: AuthorizationPolicy): Json {
  const { name, namespace, scope, dryRun } = policy;
  const scopes = {
    GLOBAL: 'Global',
    NAMESPACE: 'Namespace',
    WORKLOAD_SELECTOR: 'WorkloadSelector',
  };
  return {
    ...{ name, namespace, dryRun },
    scope: scopes[scope],
    action: policy.action === 'DENY' ? 'Deny' : 'Allow',
    rules: policy.rules.map((rule) => rule.clauses.map((clause) => clause.matches.map(dumpMatch))),
  };
}

export function dumpCertificate(entry: CertificateEntry): Json {
  const { identity, state, certificate } = entry;
  const texts = {
    available: 'Available',
    initializing: 'Initializing',
    unavailable: `Unavailable: ${state.kind === 'unavailable' ? state.reason : ''}`,
  };
  return {
    identity,
    state: texts[state.kind],
    certChain: (certificate?.chainPem ?? []).map(dumpPem),
    rootCerts: (certificate?.rootsPem ?? []).map(dumpPem),
  };
}

/** Pods by their uid, sorted. */
export function dumpPods(pods: Iterable<PodEntry>): Json {
  return Object.fromEntries(sortBy(pods, (pod) => pod.uid).map((pod) => [pod.uid, dumpPod(pod)]));
}

function dumpPod(pod: PodEntry): Json {
  const { name, namespace, serviceAccount, state } = pod;
  const of = (direction: LiveConnection['direction']): Json =>
    pod.connections.filter((each) => each.direction === direction).map(dumpConnection);
  return {
    state,
    connections: { inbound: of('inbound'), outbound: of('outbound') },
    info: { name, namespace, serviceAccount },
  };
}

function dumpConnection(connection: LiveConnection): Json {
  const { originalDestination: original, source, actualDestination, protocol } = connection;
  return {
    src: formatSocketAddress(source),
    originalDst: typeof original === 'object' ? formatSocketAddress(original) : (original ?? null),
    actualDst: formatSocketAddress(actualDestination),
    protocol,
  };
}

function dumpMatch(match: PolicyMatch): Json {
  const fields: [string, readonly Json[]][] = [
    ['namespaces', match.namespaces.map(dumpStringMatch)],
    ['notNamespaces', match.notNamespaces.map(dumpStringMatch)],
    ['principals', match.principals.map(dumpStringMatch)],
    ['notPrincipals', match.notPrincipals.map(dumpStringMatch)],
    ['serviceAccounts', match.serviceAccounts.map((each) => ({ ...each }))],
    ['notServiceAccounts', match.notServiceAccounts.map((each) => ({ ...each }))],
    ['sourceIps', match.sourceIps.map(formatCidr)],
    ['notSourceIps', match.notSourceIps.map(formatCidr)],
    ['destinationIps', match.destinationIps.map(formatCidr)],
    ['notDestinationIps', match.notDestinationIps.map(formatCidr)],
    ['destinationPorts', match.destinationPorts],
    ['notDestinationPorts', match.notDestinationPorts],
  ];
  return Object.fromEntries(fields.filter(([, values]) => values.length > 0));
}

function dumpStringMatch(match: StringMatch): Json {
  return match.kind === 'presence' ? 'Presence' : { [capitalize(match.kind)]: match.value };
}

function dumpGateway(gateway: GatewayAddress): Json {
  const { destination, hboneMtlsPort } = gateway;
  const text =
    destination.kind === 'hostname'
      ? `${destination.namespace}/${destination.hostname}`
      : `${destination.network}/${destination.ip}`;
  return { destination: text, hboneMtlsPort };
}

function formatNetworkAddress({ network, ip, prefix }: NetworkAddress): string {
  return `${network}/${ip}${prefix === undefined ? '' : `/${prefix}`}`;
}

function dumpPorts(ports: readonly PortMapping[]): Json {
  return Object.fromEntries(ports.map(({ servicePort, targetPort }) => [servicePort, targetPort]));
}

/** A certificate that cannot be read is shown as it is: the page is there to find such things. */
function dumpPem(pem: string): Json {
  const encoded = Buffer.from(pem).toString('base64');
  try {
    const { serialNumber, validFromDate, validToDate } = new X509Certificate(pem);
    return {
      pem: encoded,
      serialNumber: serialNumber.toLowerCase(),
      validFrom: validFromDate.toISOString(),
      expirationTime: validToDate.toISOString(),
    };
  } catch {
    return { pem: encoded, serialNumber: '', validFrom: '', expirationTime: '' };
  }
}

function optional<T>(
  name: string,
  value: T | undefined,
  dump: (value: T) => Json,
): { readonly [name: string]: Json } {
  return value === undefined ? {} : { [name]: dump(value) };
}

function capitalize(word: string): string {
  return word.slice(0, 1).toUpperCase() + word.slice(1).toLowerCase();
}

function sortBy<T>(values: Iterable<T>, key: (value: T) => string): T[] {
  // By code units: the same on every machine, whatever its locale.
  return [...values].sort((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
}
