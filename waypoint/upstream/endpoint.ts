import type { SocketAddress } from '../../base/address.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import type { Service } from '../../mesh/model/service.ts';
import type { WorkloadDescription } from '../../mesh/model/workload.ts';

/** One place that requests can be sent to. */
export type UpstreamEndpoint = Readonly<{
  /** Two endpoints with the same key are the same place, reached in the same way: they share connections. */
  key: string;
  /** As the log has it, `<ip>:<port>`. */
  text: string;
  address: SocketAddress;
  workload?: WorkloadDescription | undefined;
  /** Of which it is one; `undefined` for a pod at its own address. */
  service?: Service | undefined;
  /** Whom the tunnel must prove to be; `undefined` outside the mesh. */
  identity?: SpiffeId | undefined;
}>;
