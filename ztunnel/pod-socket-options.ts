import type { Netns } from '../net/netns.ts';
import type { KeepAlive } from '../net/socket-options.ts';
import type { TcpConnectOptions } from '../net/tcp.ts';

type Marking = Readonly<{ packetMark: number | undefined }>;
type Place = Readonly<{ netns: Netns | undefined }>;

/** Everything that a pod's proxy opens is opened inside the pod's namespace, with the mark that the rules let pass. */
export function podSocketOptions(
  { packetMark: mark }: Marking,
  { netns }: Place,
): Readonly<{ netns?: Netns; mark?: number }> {
  return { ...(netns && { netns }), ...(mark !== undefined && { mark }) };
}

/** How a pod's proxy dials. */
export function podConnectOptions(
  parts: Marking & Readonly<{ keepAlive: KeepAlive | undefined }>,
  pod: Place,
  signal: AbortSignal,
): TcpConnectOptions {
  const { keepAlive } = parts;
  return { ...podSocketOptions(parts, pod), signal, ...(keepAlive && { keepAlive }) };
}
