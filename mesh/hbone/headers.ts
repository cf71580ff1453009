import { randomFillSync } from 'node:crypto';
import { formatSocketAddress, type SocketAddress } from '../../base/address.ts';
import { perObject } from '../../base/per-object.ts';
import type { Workload, WorkloadType } from '../model/workload.ts';

/** What a peer says about its workload. For telemetry only: it is never part of a decision. */
export type Baggage = Readonly<{
  clusterId: string;
  namespace: string;
  workloadType?: WorkloadType;
  workloadName: string;
  canonicalName: string;
  canonicalRevision: string;
  region: string;
  zone: string;
}>;

/** W3C Baggage, section 3.3.2: what must be carried on at least, so nobody sends more. */
const MAX_BAGGAGE_LENGTH = 8192;
/** Of the same section; we read nine. */
const MAX_BAGGAGE_ITEMS = 64;
/** The longest value that a label of Kubernetes or a host name has. */
const MAX_VALUE_LENGTH = 253;

const TYPE_KEYS: readonly (readonly [string, WorkloadType])[] = [
  ['k8s.deployment.name', 'DEPLOYMENT'],
  ['k8s.cronjob.name', 'CRONJOB'],
  ['k8s.pod.name', 'POD'],
  ['k8s.job.name', 'JOB'],
];

/** The `baggage` header of a workload, absent values left out; order and names as istio/ztunnel writes them. */
export const makeBaggage = perObject((workload: Workload): string => {
  const type = TYPE_KEYS.find(([, workloadType]) => workloadType === workload.workloadType);
  const items: readonly (readonly [string, string])[] = [
    ['k8s.cluster.name', workload.clusterId],
    ['k8s.namespace.name', workload.namespace],
    [type?.[0] ?? 'k8s.deployment.name', workload.workloadName],
    ['service.name', workload.canonicalName],
    ['service.version', workload.canonicalRevision],
    ['cloud.region', workload.locality.region],
    ['cloud.availability_zone', workload.locality.zone],
  ];
  return items
    .filter(([, value]) => value !== '' && isPlainValue(value))
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
});

/** Reads a `baggage` header. What is not understood is left out; a header beyond the limits is not read at all. */
export function parseBaggage(header: string): Baggage {
  const found = new Map<string, string>();
  const items = header.length > MAX_BAGGAGE_LENGTH ? [] : header.split(',', MAX_BAGGAGE_ITEMS + 1);
  for (const item of items.length > MAX_BAGGAGE_ITEMS ? [] : items) {
    const [pair = ''] = item.split(';', 1); // properties follow a semicolon
    const equals = pair.indexOf('=');
    if (equals < 0) continue;
    const key = pair.slice(0, equals).trim();
    const value = pair.slice(equals + 1).trim();
    // The first of equal keys counts, so that nothing appended can replace it.
    if (isPlainValue(value) && !found.has(key)) found.set(key, value);
  }
  const type = TYPE_KEYS.find(([key]) => found.has(key));
  const value = (key: string): string => found.get(key) ?? '';
  return {
    clusterId: value('k8s.cluster.name'),
    namespace: value('k8s.namespace.name'),
    ...(type && { workloadType: type[1] }),
    workloadName: type === undefined ? '' : value(type[0]),
    canonicalName: value('service.name'),
    canonicalRevision: value('service.version'),
    region: value('cloud.region'),
    zone: value('cloud.availability_zone'),
  };
}

/** Visible ASCII without what separates items: a value goes into logs and labels as it is. */
function isPlainValue(value: string): boolean {
  return value.length <= MAX_VALUE_LENGTH && /^[!#-+\--:<-[\]-~]+$/.test(value);
}

/** The `forwarded` header: who opened the connection, and the service that it was for. */
export function makeForwarded(source: SocketAddress, serviceHostname?: string): string {
  const forwardedFor = `for="${formatSocketAddress(source)}"`;
  return serviceHostname === undefined ? forwardedFor : `${forwardedFor};host=${serviceHostname}`;
}

/** The `host` of a `forwarded` header, lower case: a hint for telemetry which service was meant. */
export function parseForwardedHost(header: string): string | undefined {
  if (header.length > MAX_BAGGAGE_LENGTH) return undefined;
  const [first = ''] = header.split(',', 1);
  for (const pair of first.split(';')) {
    const [, quoted, plain] =
      /^\s*host\s*=\s*(?:"([A-Za-z0-9.:-]{1,259})"|([A-Za-z0-9.:-]{1,259}))\s*$/i.exec(pair) ?? [];
    const host = quoted ?? plain;
    if (host !== undefined) return host.toLowerCase();
  }
  return undefined;
}

/** Of the inner tunnel of double HBONE: the network that the source is in. */
export const FORWARDED_NETWORK = 'x-forwarded-network';

/** W3C Trace Context, section 3.2: version 00, and neither id all zeros. */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/** Random bytes are drawn for many connections at once. */
const TRACE_POOL = Buffer.alloc(24 * 64);
let tracePoolAt = TRACE_POOL.length;

/** A new `traceparent`, not sampled. */
export function makeTraceparent(): string {
  if (tracePoolAt === TRACE_POOL.length) {
    randomFillSync(TRACE_POOL);
    tracePoolAt = 0;
  }
  const ids = TRACE_POOL.toString('hex', tracePoolAt, tracePoolAt + 24);
  tracePoolAt += 24;
  return `00-${ids.slice(0, 32)}-${ids.slice(32)}-00`;
}

/** The trace id of a well-formed `traceparent`: 32 hexadecimal digits. */
export function traceIdOf(traceparent: string): string {
  return traceparent.slice(3, 35);
}

/** A `traceparent` as it came, `undefined` where it is not well-formed. */
export function parseTraceparent(header: string | undefined): string | undefined {
  return header?.length === 55 && TRACEPARENT.test(header) ? header : undefined;
}
