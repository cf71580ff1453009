import { setTimeout as delay } from 'node:timers/promises';
import { credentials, Metadata } from '@grpc/grpc-js';
import {
  AggregatedDiscoveryServiceClient,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from '../../mesh/proto/gen/discovery.ts';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../mesh/xds/codec.ts';
import { ztunnelNode } from '../../test/istiod-lite/support/xds-client.ts';

/** istiod-lite lets 25 new streams through in a second on two cores. */
const STREAM_PAUSE_MS = 45;

export type XdsProxiesOptions = Readonly<{
  port: number;
  rootPem: string;
  token: string;
  count: number;
  /** One has its first state: so long after it asked. */
  onReady(tookMs: number): void;
  /** One has a further response. */
  onChange(): void;
}>;

/** Node proxies as the control plane sees them: real gRPC streams over TLS, a connection each, that acknowledge everything. */
export class XdsProxies {
  /** Of resources, with their names; what gRPC and TLS put around them is not counted. */
  receivedBytes = 0;
  readonly #options: XdsProxiesOptions;

  constructor(options: XdsProxiesOptions) {
    this.#options = options;
  }

  /** Connects one after another, no faster than they are let in. */
  async connectAll(): Promise<void> {
    for (let index = 0; index < this.#options.count; index++) {
      this.#connect(index);
      await delay(STREAM_PAUSE_MS);
    }
  }

  #connect(index: number): void {
    const { port, rootPem, token, onReady, onChange } = this.#options;
    const beganMs = performance.now();
    const client = new AggregatedDiscoveryServiceClient(
      `127.0.0.1:${port}`,
      credentials.createSsl(Buffer.from(rootPem)),
      {
        'grpc.ssl_target_name_override': 'istiod.istio-system.svc',
        'grpc.use_local_subchannel_pool': 1,
        'grpc.max_receive_message_length': -1,
      },
    );
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    const stream = client.deltaAggregatedResources(metadata);
    const send = (fields: Partial<DeltaDiscoveryRequest>): void => {
      stream.write({
        ...{ node: undefined, typeUrl: '', resourceNamesSubscribe: [] },
        ...{ resourceNamesUnsubscribe: [], initialResourceVersions: new Map() },
        ...{ responseNonce: '', errorDetail: undefined },
        ...fields,
      });
    };
    let responses = 0;
    stream.on('data', (response: DeltaDiscoveryResponse) => {
      send({ typeUrl: response.typeUrl, responseNonce: response.nonce });
      this.receivedBytes += sizeOf(response);
      responses++;
      if (responses === 2) onReady(performance.now() - beganMs);
      else if (responses > 2) onChange();
    });
    stream.on('error', (error) => {
      throw error;
    });
    const node = ztunnelNode(`ztunnel-${index}`, `node-${index}`);
    for (const typeUrl of [ADDRESS_TYPE, AUTHORIZATION_TYPE]) send({ node, typeUrl });
  }
}

function sizeOf({ resources, removedResources }: DeltaDiscoveryResponse): number {
  const sum = resources.reduce(
    (bytes, { name, resource }) => bytes + name.length + (resource?.value.length ?? 0),
    0,
  );
  return sum + removedResources.reduce((bytes, name) => bytes + name.length, 0);
}
