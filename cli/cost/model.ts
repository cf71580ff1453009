/** What one proxy takes, as a benchmark has measured it; `docs` and every answer name where from. */
export type Coefficients = Readonly<{
  /** Where the figures come from. */
  provenance: Readonly<{
    measuredAt: string;
    commit: string;
    machine: string;
    /** Of the run. */
    pods: readonly number[];
    nodes: number;
    callsPerSecond: number;
    quiet: boolean;
    envoy: string;
  }>;
  /** Memory of one process in MB: `base`, and `perPod` for each pod of the mesh, which every proxy knows. */
  sidecarMb: Linear;
  ztunnelMb: Linear;
  waypointMb: Linear;
  /** Processor time of one call between two pods, in microseconds: all proxies that it passes. */
  sidecarUsPerCall: number;
  ztunnelUsPerCall: number;
  /** What a call through a waypoint costs more. */
  waypointUsPerCall: number;
}>;

export type Linear = Readonly<{ base: number; perPod: number }>;

export type Cluster = Readonly<{
  pods: number;
  nodes: number;
  /** Calls between pods a second. */
  callsPerSecond: number;
  /** Of the calls, through a waypoint, 0 to 1. */
  l7Share: number;
}>;

/** A month of a gigabyte of memory and of a processor. */
export type Prices = Readonly<{
  gbMonth: number;
  cpuMonth: number;
  currency: string;
  /** Whose. */
  source: string;
}>;

export type Cost = Readonly<{
  memoryGb: number;
  cpus: number;
  /** In the currency of the prices. */
  perMonth: number;
  /** How it comes about, a line each, with the numbers put in. */
  formulas: readonly string[];
}>;

/** A waypoint is given another replica when one would use more than this of a processor: a data thread has one. */
const WAYPOINT_CPUS = 0.6;
const MB_PER_GB = 1024;
const US_PER_SECOND = 1e6;

/** A proxy in every pod; L7 or not, it does the same. */
export function sidecarCost(coefficients: Coefficients, cluster: Cluster, prices: Prices): Cost {
  const { pods, callsPerSecond } = cluster;
  const { sidecarMb, sidecarUsPerCall } = coefficients;
  const memoryGb = (pods * at(sidecarMb, pods)) / MB_PER_GB;
  const cpus = (callsPerSecond * sidecarUsPerCall) / US_PER_SECOND;
  return priced(memoryGb, cpus, prices, [
    `memory = pods x sidecar = ${pods} x ${formatLinear(sidecarMb, pods)} = ${gb(memoryGb)}`,
    `cpu = calls/s x time of a call = ${callsPerSecond} x ${us(sidecarUsPerCall)} = ${cpu(cpus)}`,
  ]);
}

/** A ztunnel on every node, and as many waypoints as the calls through them need. */
export function ambientCost(coefficients: Coefficients, cluster: Cluster, prices: Prices): Cost {
  const { pods, nodes, callsPerSecond, l7Share } = cluster;
  const { ztunnelMb, waypointMb, ztunnelUsPerCall, waypointUsPerCall } = coefficients;
  const l7Cpus = (callsPerSecond * l7Share * waypointUsPerCall) / US_PER_SECOND;
  const waypoints = l7Share === 0 ? 0 : Math.max(1, Math.ceil(l7Cpus / WAYPOINT_CPUS));
  const memoryGb = (nodes * at(ztunnelMb, pods) + waypoints * at(waypointMb, pods)) / MB_PER_GB;
  const cpus = (callsPerSecond * ztunnelUsPerCall) / US_PER_SECOND + l7Cpus;
  return priced(memoryGb, cpus, prices, [
    `waypoints = calls/s x L7 share x time of a call / ${WAYPOINT_CPUS} cpu, rounded up = ` +
      `${callsPerSecond} x ${l7Share} x ${us(waypointUsPerCall)} / ${WAYPOINT_CPUS} = ${waypoints}`,
    `memory = nodes x ztunnel + waypoints x waypoint = ${nodes} x ${formatLinear(ztunnelMb, pods)} + ` +
      `${waypoints} x ${formatLinear(waypointMb, pods)} = ${gb(memoryGb)}`,
    `cpu = calls/s x (ztunnels + L7 share x waypoint) = ${callsPerSecond} x (${us(ztunnelUsPerCall)} + ` +
      `${l7Share} x ${us(waypointUsPerCall)}) = ${cpu(cpus)}`,
  ]);
}

function priced(
  memoryGb: number,
  cpus: number,
  { gbMonth, cpuMonth, currency }: Prices,
  formulas: readonly string[],
): Cost {
  const perMonth = memoryGb * gbMonth + cpus * cpuMonth;
  const price =
    `month = memory x ${gbMonth} + cpu x ${cpuMonth} = ` +
    `${memoryGb.toFixed(2)} x ${gbMonth} + ${cpus.toFixed(2)} x ${cpuMonth} = ${perMonth.toFixed(2)} ${currency}`;
  return { memoryGb, cpus, perMonth, formulas: [...formulas, price] };
}

function at({ base, perPod }: Linear, pods: number): number {
  return base + perPod * pods;
}

function formatLinear(linear: Linear, pods: number): string {
  const { base, perPod } = linear;
  return `(${base.toFixed(1)} + ${perPod.toFixed(3)} x ${pods} pods) MB`;
}

function gb(value: number): string {
  return `${value.toFixed(2)} GB`;
}

function us(value: number): string {
  return `${value.toFixed(0)} us`;
}

function cpu(value: number): string {
  return `${value.toFixed(2)} cpu`;
}
