import type { ExecutionContext } from 'ava';
import { DATA, FLAG_END_STREAM, HEADERS, RST_STREAM } from '../../net/h2/frame.ts';
import type { Http2Stream } from '../../net/h2/stream.ts';
import { formatFlags } from '../../waypoint/response-flags.ts';
import type { Collector } from './collect.ts';
import { openStream, type Told } from './h2-client.ts';
import { frame, headers, request, u32 } from './h2-frames.ts';
import type { RawPeer } from './h2-peer.ts';
import { RawUpstream, TestWaypoint, type WaypointOptions } from './waypoint-requests.ts';

export const E = FLAG_END_STREAM;
/** Frames of the first stream: what an upstream says. */
export const data = (text: string, flags = 0): Buffer => frame(DATA, flags, 1, Buffer.from(text));
export const reset = (code: number): Buffer => frame(RST_STREAM, 0, 1, u32(code));
export const ok = (flags = 0, ...more: string[]): Buffer =>
  headers(1, flags, ':status', '200', ...more);
export const isHead = ({ type }: { type: number }): boolean => type === HEADERS;

export type Way = Readonly<{
  waypoint: TestWaypoint;
  upstream: RawPeer;
  /** What the upstream was sent as head. */
  head: readonly string[];
  stream: Http2Stream;
  body: Collector;
  told: Told;
}>;

/** One request up to the moment in which the upstream has its head. */
export async function send(
  t: ExecutionContext,
  list = request(),
  options: WaypointOptions & { endStream?: boolean; settings?: Buffer[] } = {},
): Promise<Way> {
  const raw = await RawUpstream.listen(t, ...(options.settings ?? []));
  const waypoint = new TestWaypoint(t, [raw.port], options);
  const [stream, body, told] = openStream(await waypoint.connect(t), list);
  if (options.endStream !== false) stream.end();
  const upstream = await raw.next();
  const head = upstream.decode(await upstream.next(isHead));
  return { waypoint, upstream, head, stream, body, told };
}

/** The outcome that the log and the metrics get. */
export async function outcome(waypoint: TestWaypoint): Promise<string> {
  const { status, flags, details, attempts } = await waypoint.record();
  checkIdle(waypoint);
  return `${status} ${formatFlags(flags)} ${details} ${attempts}`;
}

/** Nothing is counted as under way any more. */
export function checkIdle({ backend, faults }: TestWaypoint): void {
  if (backend.active !== 0 || backend.retries !== 0) throw new Error('a try is still counted');
  if (faults.length > 0) throw faults[0];
}
