/** Why an endpoint may not be chosen; in this order, where there are several reasons. */
export type EndpointCondition = 'available' | 'ejected' | 'failing-checks' | 'not-ready';

/** One endpoint of a target, as waypoints see it. */
export type ReportedEndpoint = Readonly<{
  workload: string;
  /** `<address>:<port>` */
  address: string;
  condition: EndpointCondition;
  /** Requests that are under way to it. */
  active: number;
}>;

/** What one port of a service, or of a subset, is made of. */
export type ReportedTarget = Readonly<{
  /** As the access log has it. */
  target: string;
  endpoints: readonly ReportedEndpoint[];
  /** Of outlier detection, since the target is used. */
  ejections: number;
  /** Outliers that stayed, because too many were ejected. */
  ejectionsOverflow: number;
  /** The most requests at a time, with adaptive concurrency. */
  concurrencyLimit?: number;
}>;

/** Something that happened to an endpoint. */
export type EndpointEvent = Readonly<{
  /** ISO 8601. */
  time: string;
  kind: 'ejected' | 'not-ejected' | 'returned' | 'healthy' | 'unhealthy';
  /** The target; for health checks, the service. */
  target: string;
  endpoint: string;
  /** The cause of an ejection, or what a check has found. */
  reason: string;
}>;
