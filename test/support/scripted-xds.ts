import { Server, ServerCredentials, type Metadata, type ServerDuplexStream } from '@grpc/grpc-js';
import {
  AggregatedDiscoveryServiceService,
  DeltaDiscoveryResponse,
  type DeltaDiscoveryRequest,
  type Resource,
} from '../../mesh/proto/gen/discovery.ts';
import { makeTestCa } from './test-ca.ts';

type Call = ServerDuplexStream<DeltaDiscoveryRequest, Buffer>;

/** The service with responses as bytes, so that a test can send what is no message. */
const SERVICE = {
  deltaAggregatedResources: {
    ...AggregatedDiscoveryServiceService.deltaAggregatedResources,
    responseSerialize: (bytes: Buffer): Buffer => bytes,
    responseDeserialize: (bytes: Buffer): Buffer => bytes,
  },
};

/** The control plane's end of one stream, driven by a test. */
export class ScriptedStream {
  readonly metadata: Metadata;
  readonly #call: Call;
  readonly #requests: DeltaDiscoveryRequest[] = [];
  readonly #waiting: ((request: DeltaDiscoveryRequest) => void)[] = [];
  readonly ended: Promise<unknown>;

  constructor(call: Call) {
    this.#call = call;
    this.metadata = call.metadata;
    this.ended = new Promise((resolve) => call.once('cancelled', resolve));
    call.on('error', () => undefined);
    call.on('end', () => {
      call.end();
    });
    call.on('data', (request: DeltaDiscoveryRequest) => {
      const next = this.#waiting.shift();
      if (next === undefined) this.#requests.push(request);
      else next(request);
    });
  }

  /** The next request, in the order of arrival. */
  request(): Promise<DeltaDiscoveryRequest> {
    const waiting = this.#requests.shift();
    if (waiting !== undefined) return Promise.resolve(waiting);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  respond(response: Partial<DeltaDiscoveryResponse>): void {
    const whole = {
      systemVersionInfo: '',
      resources: [],
      typeUrl: '',
      nonce: '',
      removedResources: [],
      ...response,
    };
    this.respondBytes(DeltaDiscoveryResponse.encode(whole).finish());
  }

  /** Sends what may be no message. */
  respondBytes(bytes: Uint8Array): void {
    this.#call.write(Buffer.from(bytes));
  }

  /** An orderly end. */
  end(): void {
    this.#call.end();
  }

  fail(code: number, details: string): void {
    this.#call.emit('error', { code, details });
  }
}

/** A control plane that does only what its test says, behind real TLS. */
export class ScriptedXds {
  readonly #server: Server;
  readonly #streams: ScriptedStream[] = [];
  readonly #waiting: ((stream: ScriptedStream) => void)[] = [];
  readonly rootPem: string;
  readonly port: number;

  private constructor(server: Server, port: number, rootPem: string) {
    this.#server = server;
    this.port = port;
    this.rootPem = rootPem;
  }

  static async start(): Promise<ScriptedXds> {
    const ca = makeTestCa();
    const certificate = ca.issue('spiffe://cluster.local/ns/istio-system/sa/istiod', {
      uris: [],
      dnsNames: ['istiod.istio-system.svc'],
    });
    const pair = {
      private_key: Buffer.from(certificate.privateKeyPem),
      cert_chain: Buffer.from(certificate.chainPem.join('\n')),
    };
    const server = new Server();
    const made = Promise.withResolvers<ScriptedXds>();
    server.addService(SERVICE, {
      deltaAggregatedResources: (call: Call) => {
        void made.promise.then((peer) => {
          peer.#accept(new ScriptedStream(call));
        });
      },
    });
    const credentials = ServerCredentials.createSsl(null, [pair]);
    server.bindAsync('127.0.0.1:0', credentials, (error, port) => {
      if (error === null) made.resolve(new ScriptedXds(server, port, ca.rootPem));
      else made.reject(error);
    });
    return made.promise;
  }

  get address(): string {
    return `https://127.0.0.1:${this.port}`;
  }

  /** The next stream, in the order of opening. */
  stream(): Promise<ScriptedStream> {
    const waiting = this.#streams.shift();
    if (waiting !== undefined) return Promise.resolve(waiting);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  stop(): void {
    this.#server.forceShutdown();
  }

  #accept(stream: ScriptedStream): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#streams.push(stream);
    else next(stream);
  }
}

export function makeResource(
  typeUrl: string,
  name: string,
  version: string,
  value = Buffer.from(name),
  aliases: string[] = [],
): Resource {
  return { name, version, resource: { typeUrl, value }, aliases };
}
