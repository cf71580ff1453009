import type { Metrics } from '../../../mesh/runtime/metrics.ts';
import { formatMetrics, mergeSnapshots } from '../../../mesh/runtime/metrics-text.ts';
import type { TcpStream } from '../../../net/tcp-stream.ts';
import { serveHttpConnection, type HttpParts } from '../../../waypoint/http.ts';
import type { LocalReply } from '../../../waypoint/local-reply.ts';

/** Whatever is asked for at the admin port, metrics are the answer. */
export function servePages(
  stream: TcpStream,
  { steps, connections }: HttpParts,
  metrics: readonly Metrics[],
): void {
  const answer = (): LocalReply => ({
    ...{ status: 200, flags: 0, details: 'metrics' },
    body: formatMetrics(mergeSnapshots(metrics.map((one) => one.snapshot())), 'prometheus'),
  });
  const pages = { ...steps, normalise: answer, onRequestEnd: () => undefined };
  const live = { hold: () => undefined, done: () => undefined };
  const facts = { remote: stream.peer, local: stream.local };
  serveHttpConnection(stream, 'detect', { facts, live }, { steps: pages, connections });
}
