import type { AccessRecord } from '../support/mesh-records.ts';

/** A pod of a Deployment: those of waypoints alone have one. */
const WAYPOINT_POD = /^(.+)-[a-z0-9]{8,10}-[a-z0-9]{5}$/;

/** What is wrong with whom the proxies took the ends of connections for; a sentence each. */
export function auditIdentities(
  records: readonly AccessRecord[],
  podOfAddress: ReadonlyMap<string, string>,
): string[] {
  const wrong: string[] = [];
  const traces = new Map<string, AccessRecord>();
  for (const record of records) {
    for (const flaw of flawsOf(record, podOfAddress)) wrong.push(`${flaw}: ${text(record)}`);
    const trace = traceOf(record);
    const other = trace === undefined ? undefined : traces.get(trace);
    if (other === undefined) {
      if (trace !== undefined) traces.set(trace, record);
    } else if (!isSameCall(record, other))
      wrong.push(`one connection with two stories: ${text(record)} and ${text(other)}`);
  }
  return wrong;
}

function flawsOf(record: AccessRecord, podOfAddress: ReadonlyMap<string, string>): string[] {
  const flaws: string[] = [];
  for (const end of ['src', 'dst'] as const) {
    const [namespace, workload] = [
      field(record, `${end}.namespace`),
      field(record, `${end}.workload`),
    ];
    const identity = field(record, `${end}.identity`);
    if (identity !== undefined && workload !== undefined)
      if (identity !== `spiffe://cluster.local/ns/${namespace ?? ''}/sa/${accountOf(workload)}`)
        flaws.push(`${end}.identity is not that of ${end}.workload`);
  }
  const address = field(record, 'src.addr');
  const ip = address?.slice(0, address.lastIndexOf(':'));
  const pod = ip === undefined ? undefined : podOfAddress.get(ip);
  const seen = field(record, 'src.workload');
  if (
    pod !== undefined &&
    seen !== undefined &&
    pod !== `${field(record, 'src.namespace') ?? ''}/${seen}`
  )
    flaws.push(`src.addr is that of ${pod}`);
  if (record.direction === 'inbound' && field(record, 'src.workload') === 'intruder')
    if (record.error === undefined) flaws.push('policy refuses this caller');
  return flaws;
}

/** Every pod here has an account of its own, of its own name; that of a waypoint is of its Deployment's. */
function accountOf(workload: string): string {
  return WAYPOINT_POD.exec(workload)?.[1] ?? workload;
}

/**
 * Both proxies of a connection must tell of the same ends, as far as each knows them. One that a waypoint carries has one
 * trace too: what it was called by one is what it calls the other as.
 */
function isSameCall(a: AccessRecord, b: AccessRecord): boolean {
  if (a.direction === b.direction) return true; // tried again
  const [outbound, inbound] = a.direction === 'outbound' ? [a, b] : [b, a];
  const called = field(outbound, 'dst.workload');
  if (called !== undefined && WAYPOINT_POD.test(called))
    return ['workload', 'identity'].every(
      (name) => field(outbound, `dst.${name}`) === field(inbound, `src.${name}`),
    );
  return ['src.identity', 'src.workload', 'dst.identity', 'dst.workload'].every((name) => {
    const [one, two] = [field(a, name), field(b, name)];
    return one === undefined || two === undefined || one === two;
  });
}

/** Both proxies of a connection log it under one trace. */
function traceOf({ direction, ...record }: AccessRecord): string | undefined {
  const span = direction === undefined ? undefined : record[direction];
  if (typeof span !== 'object' || span === null || !('id' in span)) return undefined;
  return String(span.id);
}

function field(record: AccessRecord, name: string): string | undefined {
  const value = record[name];
  return typeof value === 'string' ? value : undefined;
}

function text(record: AccessRecord): string {
  return JSON.stringify(record);
}
