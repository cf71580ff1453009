import { setTimeout as delay } from 'node:timers/promises';
import { Metadata, status, type ClientDuplexStream } from '@grpc/grpc-js';
import { describeError } from '../../base/errors.ts';
import { decodeMessage } from '../proto/decode.ts';
import {
  AggregatedDiscoveryServiceService,
  DeltaDiscoveryResponse,
  type DeltaDiscoveryRequest,
  type Resource,
} from '../proto/gen/discovery.ts';
import type { Node } from '../proto/gen/node.ts';
import { ControlPlane, readRoots, type ControlPlaneOptions } from '../proto/grpc.ts';
import { Backoff } from '../runtime/backoff.ts';
import { HeldResources, type SubscribedType } from './held-resources.ts';

/** One resource as it came; its bytes share the memory of the message, so copy them before posting them on. */
export type RawResource = Readonly<{ name: string; version: string; bytes: Uint8Array }>;

/** A resource that was not taken, and why. */
export type ResourceRejection = Readonly<{ name: string; reason: string }>;

/** Why a stream ended, as istio_xds_connection_terminations_total counts it. */
export type TerminationReason = 'ConnectionError' | 'Error' | 'Reconnect' | 'Complete';

export type DeltaClientEvent = Readonly<
  | { kind: 'connected' }
  | { kind: 'message'; typeUrl: string; bytes: number; resources: number; removed: number }
  | { kind: 'rejected'; typeUrl: string; rejections: readonly ResourceRejection[] }
  | { kind: 'terminated'; reason: TerminationReason; error?: Error; retryInMs: number }
>;

export type DeltaClientOptions = Readonly<{
  controlPlane: Omit<ControlPlaneOptions, 'rootsPem'>;
  /** PEM itself, `SYSTEM`, or a path; read for every stream, as the token is. */
  roots: string;
  node: Node;
  types: readonly SubscribedType[];
  /**
   * Takes what changed, updates first, and answers which resources it refused. Called for one response at a time. A
   * rejected promise ends the stream: what has become of the resources is not known, so they are asked for again.
   */
  apply: (
    typeUrl: string,
    resources: readonly RawResource[],
    removed: readonly string[],
  ) => Promise<readonly ResourceRejection[]>;
  onEvent?: (event: DeltaClientEvent) => void;
}>;

/** 10 ms doubling to 15 s, as istio/ztunnel src/xds/client.rs; part of each is random. */
const BACKOFF = { initialMs: 10, maxMs: 15_000 };
/** A stream that lived so long and then ended says nothing against the next one, which may come at once. */
const HEALTHY_STREAM_MS = 1000;
/** Reasons beyond this are left out of a NACK: gRPC carries them in one message, which is read by people. */
const MAX_NACK_LENGTH = 4096;
/** google.rpc.Code.INVALID_ARGUMENT */
const INVALID_ARGUMENT = 3;

type Message = Readonly<{ response: DeltaDiscoveryResponse; bytes: number }>;
type Call = ClientDuplexStream<DeltaDiscoveryRequest, Message>;

/** Follows the configuration of a control plane. What was received is kept while there is no connection. */
export class DeltaClient {
  readonly #options: DeltaClientOptions;
  readonly #held: ReadonlyMap<string, HeldResources>;
  readonly #backoff = new Backoff(BACKOFF);
  readonly #synced = Promise.withResolvers<undefined>();
  #call: Call | undefined;
  #lastError: Error | undefined;

  constructor(options: DeltaClientOptions) {
    this.#options = options;
    this.#held = new Map(options.types.map((type) => [type.typeUrl, new HeldResources(type)]));
    this.#checkSynced();
  }

  /** Settles with the first accepted response of each type that is not on demand. */
  get synced(): Promise<undefined> {
    return this.#synced.promise;
  }

  /** For a status page. */
  get status(): Readonly<{
    connected: boolean;
    resources: ReadonlyMap<string, number>;
    /** Keys that are followed on demand. */
    demanded: number;
    lastError?: string;
  }> {
    return {
      connected: this.#call !== undefined,
      resources: new Map([...this.#held].map(([typeUrl, held]) => [typeUrl, held.size])),
      demanded: [...this.#held.values()].reduce((sum, held) => sum + held.demanded, 0),
      ...(this.#lastError && { lastError: describeError(this.#lastError) }),
    };
  }

  /** Keeps a stream open until the signal aborts; never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const stopped = (): boolean => signal.aborted;
    while (!stopped()) {
      const startedMs = performance.now();
      const ended = await this.#stream(signal);
      if (stopped()) return;
      if (performance.now() - startedMs > HEALTHY_STREAM_MS && ended.reason !== 'ConnectionError')
        this.#backoff.reset();
      const retryInMs = this.#backoff.nextMs();
      this.#lastError = ended.error;
      this.#options.onEvent?.({ kind: 'terminated', ...ended, retryInMs });
      await delay(retryInMs, undefined, { signal }).catch(() => undefined);
    }
  }

  /**
   * Asks for a resource of an on-demand type: by uid, `<namespace>/<hostname>` or `<network>/<ip>`. Settles when a
   * response has named it, be it that there is no such resource.
   *
   * @throws {Error} the signal's reason when it aborts first.
   */
  async demand(typeUrl: string, key: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const held = this.#held.get(typeUrl);
    if (held?.type.onDemand !== true) return;
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    const wake = (): void => {
      resolve(undefined);
    };
    const asked = held.demand(key, wake);
    if (asked === 'answered') return;
    if (asked === 'new') this.#send(typeUrl, { subscribe: [key] });
    const onAbort = (): void => {
      held.forgetWaiter(key, wake);
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Nobody relies on a key any more that demand() asked for: it is followed only as long as something is held by it. */
  release(typeUrl: string, key: string): void {
    if (this.#held.get(typeUrl)?.release(key) === true) this.#send(typeUrl, { unsubscribe: [key] });
  }

  /** One stream, from connecting to its end. */
  async #stream(signal: AbortSignal): Promise<{ reason: TerminationReason; error?: Error }> {
    const { controlPlane: options, roots, onEvent } = this.#options;
    let connected = false;
    try {
      using controlPlane = new ControlPlane({ ...options, rootsPem: await readRoots(roots) });
      await controlPlane.connect({ signal });
      const call = openCall(controlPlane);
      // The loop below hears of errors; one that comes after it concerns nobody, and must not end the process.
      call.on('error', () => undefined);
      const cancel = (): void => {
        call.cancel();
      };
      signal.addEventListener('abort', cancel, { once: true });
      try {
        this.#begin(call);
        for await (const message of call) {
          if (!connected) onEvent?.({ kind: 'connected' });
          connected = true;
          await this.#receive(call, message as Message);
        }
        return { reason: 'Complete' };
      } finally {
        signal.removeEventListener('abort', cancel);
        this.#call = undefined;
        cancel();
      }
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new Error(describeError(thrown));
      if (!connected) return { reason: 'ConnectionError', error };
      return { reason: isOrderlyEnd(error) ? 'Reconnect' : 'Error', error };
    }
  }

  #begin(call: Call): void {
    this.#call = call;
    for (const [typeUrl, held] of this.#held)
      this.#write({ ...held.firstRequest(), typeUrl, node: this.#options.node });
  }

  async #receive(call: Call, { response, bytes }: Message): Promise<void> {
    const { typeUrl, nonce, resources, removedResources } = response;
    this.#options.onEvent?.({
      kind: 'message',
      typeUrl,
      bytes,
      resources: resources.length,
      removed: removedResources.length,
    });
    const held = this.#held.get(typeUrl);
    const rejections =
      held === undefined
        ? [{ name: typeUrl, reason: 'nobody asked for this type' }]
        : await this.#apply(held, resources, removedResources);
    if (this.#call !== call) return; // aborted meanwhile
    if (rejections.length === 0) {
      this.#write({ typeUrl, responseNonce: nonce });
      if (held !== undefined) held.accepted = true;
      this.#checkSynced();
      return;
    }
    this.#options.onEvent?.({ kind: 'rejected', typeUrl, rejections });
    const message = describeRejections(rejections);
    this.#write({
      typeUrl,
      responseNonce: nonce,
      errorDetail: { code: INVALID_ARGUMENT, message },
    });
  }

  async #apply(
    held: HeldResources,
    resources: readonly Resource[],
    removed: readonly string[],
  ): Promise<readonly ResourceRejection[]> {
    const { typeUrl } = held.type;
    const rejections: ResourceRejection[] = [];
    // The last of equal names counts: each is the whole resource.
    const usable = new Map<string, Resource>();
    for (const resource of resources) {
      const reason = whyUnusable(typeUrl, resource);
      if (reason === undefined) usable.set(resource.name, resource);
      else rejections.push({ name: resource.name, reason });
    }
    const raw = [...usable.values()].map(({ name, version, resource }) => ({
      name,
      version,
      bytes: resource?.value ?? new Uint8Array(),
    }));
    rejections.push(...(await this.#options.apply(typeUrl, raw, removed)));
    const rejected = new Set(rejections.map(({ name }) => name));
    for (const { name, version, aliases } of usable.values()) {
      if (rejected.has(name)) held.answer(name, ...aliases);
      else held.hold(name, version, aliases);
    }
    const unsubscribe = removed.flatMap((name) => held.drop(name));
    if (unsubscribe.length > 0) this.#send(typeUrl, { unsubscribe });
    return rejections;
  }

  #send(
    typeUrl: string,
    names: Readonly<{ subscribe?: readonly string[]; unsubscribe?: readonly string[] }>,
  ): void {
    this.#write({
      typeUrl,
      resourceNamesSubscribe: [...(names.subscribe ?? [])],
      resourceNamesUnsubscribe: [...(names.unsubscribe ?? [])],
    });
  }

  /** Without a stream nothing is lost: the next one begins with all that is wanted. */
  #write(request: Partial<DeltaDiscoveryRequest> & { typeUrl: string }): void {
    this.#call?.write({
      resourceNamesSubscribe: [],
      resourceNamesUnsubscribe: [],
      initialResourceVersions: new Map(),
      responseNonce: '',
      ...request,
    });
  }

  #checkSynced(): void {
    if ([...this.#held.values()].every(({ type, accepted }) => type.onDemand || accepted))
      this.#synced.resolve(undefined);
  }
}

function openCall(controlPlane: ControlPlane): Call {
  const { path, requestSerialize } = AggregatedDiscoveryServiceService.deltaAggregatedResources;
  const deserialize = (buffer: Buffer): Message => ({
    response: decodeMessage(DeltaDiscoveryResponse, buffer, 'an xDS response', 'upstream'),
    bytes: buffer.length,
  });
  return controlPlane.discovery.makeBidiStreamRequest(
    path,
    requestSerialize,
    deserialize,
    new Metadata(),
  );
}

function whyUnusable(typeUrl: string, { name, resource }: Resource): string | undefined {
  if (name === '') return 'it has no name';
  if (resource === undefined) return 'it has no content';
  if (resource.typeUrl !== typeUrl)
    return `it is of type ${JSON.stringify(resource.typeUrl.slice(0, 128))}`;
  return undefined;
}

function describeRejections(rejections: readonly ResourceRejection[]): string {
  let message = '';
  for (const [index, { name, reason }] of rejections.entries()) {
    const next = `${index === 0 ? '' : '; '}${name}: ${reason}`;
    if (message.length + next.length > MAX_NACK_LENGTH && index > 0)
      return `${message}; and ${rejections.length - index} more`;
    message += next.slice(0, MAX_NACK_LENGTH);
  }
  return message;
}

/** The server went away or sends us elsewhere: nothing is wrong, and nobody needs to hear of it. */
function isOrderlyEnd(error: Error): boolean {
  const code = 'code' in error ? error.code : undefined;
  return (
    code === status.UNAVAILABLE || code === status.CANCELLED || code === status.DEADLINE_EXCEEDED
  );
}
