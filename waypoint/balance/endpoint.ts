import type { Workload } from '../../mesh/model/workload.ts';
import type { EndpointState } from '../endpoint-state.ts';

/** An endpoint of a target, as balancers see it. */
export type Endpoint = Readonly<{
  workload: Workload;
  port: number;
  /** Above 0. */
  weight: number;
  /** Of its pod; empty where they are not known. */
  labels: ReadonlyMap<string, string>;
  /** `<address>:<port>`: where hashing balancers place it, the same in every replica of the waypoint. */
  hashKey: string;
  state: EndpointState;
}>;
