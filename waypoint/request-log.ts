import { quoteLogText } from '../mesh/runtime/log-line.ts';
import type { LineWriter } from '../mesh/runtime/log-writer.ts';
import { findHeader } from '../net/h2/headers.ts';
import type { Downstream } from './downstream.ts';
import type { HttpRequest } from './http-request.ts';
import { formatFlags } from './response-flags.ts';

/** Writes one line for each request: the fields that Istio's JSON access log has, in its order, then ours. */
export class RequestLog {
  readonly #writer: LineWriter;
  /** What is the same for all requests of a connection. */
  readonly #connections = new WeakMap<Downstream, string>();

  constructor(writer: LineWriter) {
    this.#writer = writer;
  }

  write(request: HttpRequest): void {
    this.#writer.write(this.#format(request), 'soon');
  }

  #format(request: HttpRequest): string {
    const { downstream, exchange, head, endpoint, serviceTimeMs } = request;
    const duration = Math.round(request.endMs - request.startMs);
    return (
      `{"start_time":"${formatTime(Date.now() - duration)}","route_name":${text(request.routeName)}` +
      `,"method":${text(head.method)},"path":${text(head.originalPath)}` +
      `,"protocol":"${downstream.version}","response_code":${request.status}` +
      `,"response_flags":"${formatFlags(request.flags)}"` +
      `,"response_code_details":${text(request.details)},"connection_termination_details":null` +
      `,"bytes_received":${exchange.bytesRead},"bytes_sent":${exchange.bytesWritten}` +
      `,"duration":${duration}` +
      `,"upstream_service_time":${serviceTimeMs < 0 ? 'null' : `"${Math.round(serviceTimeMs)}"`}` +
      `,"x_forwarded_for":${text(head.forwardedFor)},"user_agent":${text(head.userAgent)}` +
      `,"request_id":${text(head.requestId)},"authority":${text(head.authority)}` +
      `,"upstream_host":${text(endpoint?.text)},"upstream_cluster":${text(request.backendName)}` +
      `,"upstream_local_address":null${this.#connection(downstream)}` +
      `,"upstream_transport_failure_reason":${text(request.transportFailure)}` +
      `,"attempts":${request.attempts},"ejections":${request.ejections}` +
      `,"policy":${text(request.policy)},"trace_id":${text(traceId(request))}}\n`
    );
  }

  #connection(downstream: Downstream): string {
    let found = this.#connections.get(downstream);
    if (found === undefined) {
      found =
        `,"downstream_local_address":"${downstream.localText}"` +
        `,"downstream_remote_address":"${downstream.remoteText}","requested_server_name":null`;
      this.#connections.set(downstream, found);
    }
    return found;
  }
}

/** What is not there is null, as in Istio's log. */
function text(value: string | undefined): string {
  return value === undefined || value === '' ? 'null' : quoteLogText(value);
}

function traceId({ head }: HttpRequest): string | undefined {
  return findHeader(head.list, 'traceparent')?.slice(3, 35);
}

let lastTimeMs = NaN;
let lastTime = '';

/** Many requests share a millisecond. */
function formatTime(timeMs: number): string {
  if (timeMs !== lastTimeMs) {
    lastTimeMs = timeMs;
    lastTime = new Date(timeMs).toISOString();
  }
  return lastTime;
}
