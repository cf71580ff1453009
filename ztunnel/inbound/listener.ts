import { listenHbone as listen } from '../../mesh/proxy/hbone-listener.ts';
import type { InboundSessions } from '../../mesh/proxy/inbound-sessions.ts';
import type { TcpListener } from '../../net/tcp-listener.ts';
import { findLocalWorkload } from '../local-workload.ts';
import type { DataParts, PodContext } from '../parts.ts';
import type { HandedListener } from '../thread-calls.ts';
import { serveTunnel } from './tunnel.ts';

/** Accepts mTLS on a pod's 15008. */
export function listenHbone(
  parts: DataParts,
  pod: PodContext,
  handed: HandedListener,
  sessions: InboundSessions,
): TcpListener {
  const { transparent } = handed;
  const host = {
    ...{ identity: () => pod.identity, gone: pod.gone, sessions },
    known: () => findLocalWorkload(parts, pod),
    serve: (...[request, session]: Parameters<Parameters<typeof listen>[1]['serve']>) => {
      void serveTunnel(request, session, { parts, pod, transparent });
    },
  };
  return listen(parts, host, handed);
}
