import { readRevocationLists, Revocations } from '../../certs/crl.ts';
import { MeshError } from '../../base/errors.ts';
import type { SessionPool } from '../hbone/pool.ts';
import type { MetricCell, Metrics } from '../runtime/metrics.ts';
import type { Connections } from './connections.ts';
import type { InboundSessions } from './inbound-sessions.ts';

/** Which peers are no longer who they were; there only where CRL_PATH names a file. */
export class RevocationCheck {
  readonly #revocations = new Revocations();
  readonly #rejections: MetricCell;
  readonly #untracked: Readonly<Record<'downstream' | 'upstream', MetricCell>>;

  constructor(metrics: Metrics, file: Uint8Array) {
    const name = 'istio_crl_policy_rejections_total';
    this.#rejections = metrics.counter(name, 'Peers refused for a revoked certificate').cell();
    const untracked = metrics.counter(
      'istio_crl_untracked_connections_total',
      'Peers refused because their certificates cannot be looked for in a list',
      { labelNames: ['reporter'] },
    );
    this.#untracked = {
      downstream: untracked.cell('destination'),
      upstream: untracked.cell('source'),
    };
    this.load(file);
  }

  /** @throws {MeshError} ERR_CRL or ERR_DER; the lists before stay in force. */
  load(file: Uint8Array): void {
    this.#revocations.replace(readRevocationLists(Buffer.from(file)));
  }

  /** Why a peer must not be talked to; `undefined` when it may. Does not throw. */
  check(chain: readonly Buffer[], side: 'downstream' | 'upstream'): MeshError | undefined {
    let serialNumber: string | undefined;
    try {
      if (chain.length === 0) throw new Error('there are none');
      serialNumber = this.#revocations.find(chain);
    } catch (cause) {
      // OpenSSL has verified it; but whether it was revoked nobody would know, now or after the next list.
      this.#untracked[side].value++;
      const message = 'Cannot trust the peer: its certificates cannot be checked for revocation';
      return new MeshError('ERR_PEER_IDENTITY', side, message, { cause });
    }
    if (serialNumber === undefined) return undefined;
    this.#rejections.value++;
    const message = `Cannot trust the peer: certificate ${serialNumber} is revoked`;
    return new MeshError('ERR_CERT_REVOKED', side, message);
  }
}

/** After a new list: whoever is on it is cut off, tunnels and sessions, in and out. */
export function cutRevoked(
  revocation: RevocationCheck,
  { connections, pool }: Readonly<{ connections: Connections; pool: SessionPool }>,
  sessions: Pick<InboundSessions, 'closeWhere'>,
): void {
  for (const connection of [...connections.all()]) {
    const { peerChain, direction } = connection;
    if (peerChain === undefined) continue;
    const side = direction === 'inbound' ? 'downstream' : 'upstream';
    const error = revocation.check(peerChain, side);
    if (error !== undefined) connection.cut(error);
  }
  pool.closeWhere(({ peerChain }) => revocation.check(peerChain, 'upstream') !== undefined);
  sessions.closeWhere((peerChain) => revocation.check(peerChain, 'downstream') !== undefined);
}
