import { once } from 'node:events';
import { credentials, Metadata, type ClientDuplexStream, type ServiceError } from '@grpc/grpc-js';
import {
  AggregatedDiscoveryServiceClient,
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
} from '../../../mesh/proto/gen/discovery.ts';
import type { TestControlPlane } from './control-plane.ts';
import { ZTUNNEL } from './control-plane.ts';

export type RequestFields = Partial<DeltaDiscoveryRequest>;

/** One xDS stream of a scripted proxy: it answers nothing by itself. */
export class XdsClient implements Disposable {
  readonly #client: AggregatedDiscoveryServiceClient;
  readonly #stream: ClientDuplexStream<DeltaDiscoveryRequest, DeltaDiscoveryResponse>;
  readonly #received: DeltaDiscoveryResponse[] = [];
  #wake: (() => void) | undefined;
  error: ServiceError | undefined;

  constructor(plane: TestControlPlane, token: string) {
    const tls = credentials.createSsl(Buffer.from(plane.rootPem));
    const target = `127.0.0.1:${plane.running.grpcPort}`;
    this.#client = new AggregatedDiscoveryServiceClient(target, tls, {
      'grpc.ssl_target_name_override': 'istiod.istio-system.svc',
    });
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${token}`);
    this.#stream = this.#client.deltaAggregatedResources(metadata);
    this.#stream.on('data', (response: DeltaDiscoveryResponse) => {
      this.#received.push(response);
      this.#wake?.();
    });
    this.#stream.on('error', (error: ServiceError) => {
      this.error = error;
      this.#wake?.();
    });
  }

  send(fields: RequestFields): void {
    const request: DeltaDiscoveryRequest = {
      ...{ node: undefined, typeUrl: '', resourceNamesSubscribe: [], resourceNamesUnsubscribe: [] },
      ...{ initialResourceVersions: new Map(), responseNonce: '', errorDetail: undefined },
      ...fields,
    };
    this.#stream.write(request);
  }

  /** The next response; fails when the stream ends instead. */
  async next(): Promise<DeltaDiscoveryResponse> {
    for (;;) {
      const response = this.#received.shift();
      if (response !== undefined) return response;
      if (this.error !== undefined) throw this.error;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** The error with which the stream ends. */
  async ended(): Promise<ServiceError> {
    if (this.error === undefined) await once(this.#stream, 'error').catch(() => undefined);
    while (this.error === undefined) await new Promise((resolve) => setImmediate(resolve));
    return this.error;
  }

  /** Reads nothing until resume(). */
  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  get waiting(): number {
    return this.#received.length;
  }

  acknowledge({ typeUrl, nonce }: DeltaDiscoveryResponse): void {
    this.send({ typeUrl, responseNonce: nonce });
  }

  reject({ typeUrl, nonce }: DeltaDiscoveryResponse, message: string): void {
    // ztunnel sends no code with it.
    this.send({
      ...{ typeUrl, responseNonce: nonce },
      errorDetail: { code: 0, message },
    });
  }

  [Symbol.dispose](): void {
    this.#stream.cancel();
    this.#client.close();
  }
}

/** The node of a ztunnel as it describes itself. */
export function ztunnelNode(
  name = 'ztunnel-a',
  nodeName = 'node-a',
): NonNullable<RequestFields['node']> {
  return {
    id: `ztunnel~10.0.0.1~${name}.istio-system~istio-system.svc.cluster.local`,
    cluster: '',
    metadata: { NAMESPACE: 'istio-system', NODE_NAME: nodeName, SERVICE_ACCOUNT: 'ztunnel' },
  };
}

/** A stream of a ztunnel with its token. */
export async function connectZtunnel(plane: TestControlPlane): Promise<XdsClient> {
  return new XdsClient(plane, await plane.issuer.token(ZTUNNEL));
}

/** Names with versions of what a response brings, in order of names. */
export function broughtBy(response: DeltaDiscoveryResponse): string[] {
  return response.resources.map(({ name }) => name).sort();
}

/** The node of a waypoint in namespace shop as it describes itself. */
export function waypointNode(gateway: string): NonNullable<RequestFields['node']> {
  return {
    id: `waypoint~1.1.1.1~${gateway}-1.shop~shop.svc.cluster.local`,
    cluster: '',
    metadata: { NAMESPACE: 'shop' },
  };
}

/** A stream of the waypoint of a Gateway in namespace shop, with its token. */
export async function connectWaypoint(
  plane: TestControlPlane,
  serviceAccount: string,
): Promise<XdsClient> {
  const token = await plane.issuer.token({ ...ZTUNNEL, namespace: 'shop', serviceAccount });
  return new XdsClient(plane, token);
}
