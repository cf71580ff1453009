import type { WorkloadCertificate } from '../mesh/model/certificate.ts';
import type { EndpointEvent, ReportedTarget } from '../mesh/model/endpoint-report.ts';
import type { GatewayExplanation, RequestExplanation } from '../mesh/model/explain.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import type { Rejection } from '../mesh/proxy/state/apply.ts';
import type { DrainCalls } from '../mesh/proxy/drain-threads.ts';
import type { RevocationCalls } from '../mesh/proxy/follow-revocations.ts';
import type { PageCalls } from '../mesh/proxy/proxy-pages.ts';
import type { ProfileCalls } from '../mesh/proxy/thread-profiles.ts';
import type { LogFormat } from '../mesh/runtime/log-line.ts';
import type { LogLevels } from '../mesh/runtime/log.ts';
import type { WaypointConfig } from './config.ts';
import type { Transport } from './gateway/gateway-routes.ts';
import type { TapFilter } from './tap-filter.ts';
import type { TappedBatch } from './tap-record.ts';
import type { RequestQuestion } from './explain-story.ts';
import type { HealthResult } from './health/checked-health.ts';
import type { SpanRecord } from './span-record.ts';

/** What a data thread begins with; cloned into it. */
export type DataThreadSettings = Readonly<{
  config: WaypointConfig;
  /** The file of CRL_PATH. */
  revocations?: Uint8Array;
  logFormat: LogFormat;
  logLevels: LogLevels;
  /** Where several threads count local rate limits together. */
  limitsMemory: SharedArrayBuffer | undefined;
}>;

/** Resources of one xDS type, as they came. */
export type XdsDelta = Readonly<{
  typeUrl: string;
  resources: readonly Readonly<{ name: string; bytes: Uint8Array }>[];
  removed: readonly string[];
}>;

export type GatewayPort = Readonly<{ port: number; transport: Transport }>;

/** What the control thread asks of a data thread. */
export type DataThreadCalls = ProfileCalls &
  DrainCalls &
  RevocationCalls &
  PageCalls & {
    applyXds: { request: XdsDelta; response: readonly Rejection[] };
    /** Serves a socket that listens on 15008; the descriptor becomes the thread's. */
    listen: { request: { fd: number }; response: null };
    /** Serves a socket at a port of the gateway; the descriptor becomes the thread's. */
    openPort: { request: GatewayPort & Readonly<{ fd: number }>; response: null };
    /** Takes no more connections at the port. */
    closePort: { request: GatewayPort; response: null };
    certificate: { request: WorkloadCertificate; response: null };
    /** How many connections are open. */
    connections: { request: null; response: number };
    /** The parts of `/config_dump` that a thread knows, as JSON text. */
    dump: { request: null; response: string };
    /** What it sends to, and how that is. */
    endpoints: { request: null; response: readonly ReportedTarget[] };
    explain: {
      request: RequestQuestion;
      response: RequestExplanation | GatewayExplanation | Readonly<{ error: string }>;
    };
    /** Requests that pass are told, by `tapped`, until this is undone. */
    tap: { request: Readonly<{ id: number; filter: TapFilter }>; response: null };
    untap: { request: Readonly<{ id: number }>; response: null };
    /** What the thread that checks endpoints has found. */
    health: { request: readonly HealthResult[]; response: null };
  };

/** What a data thread asks of the control thread. */
export type ControlCalls = {
  certificate: { request: { identity: SpiffeId }; response: WorkloadCertificate };
  tapped: { request: TappedBatch; response: null };
  endpointEvent: { request: EndpointEvent; response: null };
  /** For all threads. */
  health: { request: readonly HealthResult[]; response: null };
  /** Answered when they are queued for export, or dropped. */
  spans: { request: readonly SpanRecord[]; response: null };
};
