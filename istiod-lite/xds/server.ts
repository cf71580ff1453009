import {
  status,
  type Metadata,
  type ServerDuplexStream,
  type ServiceDefinition,
} from '@grpc/grpc-js';
import type { UntypedServiceImplementation } from '@grpc/grpc-js';
import { setTimeout as delay } from 'node:timers/promises';
import { describeError } from '../../base/errors.ts';
import type { Logger } from '../../mesh/runtime/log.ts';
import { ADDRESS_TYPE } from '../../mesh/xds/codec.ts';
import {
  AggregatedDiscoveryServiceService,
  type DeltaDiscoveryRequest,
} from '../../mesh/proto/gen/discovery.ts';
import type { ResourceChange, Translator } from '../translate/translator.ts';
import { Breather } from '../breather.ts';
import { AddressIndex } from './address-index.ts';
import type { Rejection } from './delivery.ts';
import { parseNode, type ProxyNode } from './node.ts';
import { ProxyStream } from './proxy-stream.ts';
import type { StreamLimiter } from './stream-limiter.ts';
import type { ResourceStore } from './subscriptions.ts';
import type { XdsMetrics } from './metrics.ts';

/** Who calls, as its token proves. */
export type StreamCaller = Readonly<{ namespace: string; serviceAccount: string }>;

export type XdsServerParts = Readonly<{
  translator: Pick<Translator, 'resources'>;
  /** @throws when the token proves nothing; the reason is for the log alone. */
  authenticate: (authorization: readonly string[]) => Promise<StreamCaller>;
  /** Accounts that may ask as ztunnel, `<namespace>/<account>`: they learn of every workload. */
  trustedNodeAccounts: ReadonlySet<string>;
  /** Accounts of workloads with a ztunnel of their own: they learn as much, and the CA gives them their own identity alone. */
  dedicatedAccounts: ReadonlySet<string>;
  /** Whether an account is the one that a declared waypoint runs under: only those may ask as a waypoint. */
  isWaypoint: (namespace: string, serviceAccount: string) => boolean;
  /** Proxies that run, whether they are connected or not: whoever waits for all proxies waits for these too. */
  expected?: () => Iterable<ExpectedProxy>;
  limiter: StreamLimiter;
  log: Logger;
  metrics: XdsMetrics;
}>;

/** By the pod that it runs in. */
export type ExpectedProxy = Readonly<{ pod: string; namespace: string; node: string }>;

/** A proxy that has not taken a revision, and why. */
export type Laggard = Readonly<{
  proxy: string;
  node: string;
  acknowledged: number;
  reason: string;
}>;

export type WaitResult = Readonly<{
  revision: number;
  /** True when every proxy that is connected or expected has it. */
  done: boolean;
  proxies: number;
  laggards: readonly Laggard[];
}>;

/** What a status page shows of a proxy. */
export type ProxyStatus = Readonly<{
  proxy: string;
  type: string;
  node: string;
  connectedMs: number;
  acknowledged: number;
  synced: boolean;
  subscriptions: readonly Readonly<{ typeUrl: string; wildcard: boolean }>[];
  rejections: readonly Rejection[];
}>;

type DeltaCall = ServerDuplexStream<DeltaDiscoveryRequest, Buffer>;

/** The service with responses as the bytes they already are. */
export const XDS_SERVICE = {
  deltaAggregatedResources: {
    ...AggregatedDiscoveryServiceService.deltaAggregatedResources,
    responseSerialize: (bytes: Buffer): Buffer => bytes,
    responseDeserialize: (bytes: Buffer): Buffer => bytes,
  },
} satisfies ServiceDefinition;

/** Serves delta xDS to proxies, and knows which revision each of them has. */
export class XdsServer {
  readonly #parts: XdsServerParts;
  readonly #store: ResourceStore;
  readonly #addresses = new AddressIndex();
  readonly #streams = new Set<ProxyStream>();
  readonly #waiters = new Set<() => void>();
  #revision = 0;
  #ready = false;

  constructor(parts: XdsServerParts) {
    this.#parts = parts;
    this.#store = {
      resources: (typeUrl) => parts.translator.resources(typeUrl),
      addresses: this.#addresses,
    };
    parts.metrics.onCollect(() => this.#streams.size);
  }

  get implementation(): UntypedServiceImplementation {
    return {
      deltaAggregatedResources: (call: DeltaCall) => {
        void this.#serve(call);
      },
    };
  }

  get revision(): number {
    return this.#revision;
  }

  /** Streams are served from now on: the first picture is whole. */
  open(revision: number): void {
    this.#revision = Math.max(this.#revision, revision);
    this.#ready = true;
  }

  /** Sends what changed to those whom it concerns, while others have the thread in between. */
  async push(change: ResourceChange): Promise<void> {
    this.#revision = change.revision;
    const addresses = this.#store.resources(ADDRESS_TYPE);
    for (const name of change.changed.get(ADDRESS_TYPE) ?? [])
      this.#addresses.update(name, addresses?.get(name));
    this.#parts.metrics.pushed(change);
    const breather = new Breather();
    // Those who come meanwhile begin with what is there now.
    for (const stream of [...this.#streams]) {
      stream.push(change);
      const breath = breather.breathe();
      if (breath !== undefined) await breath;
    }
    this.#wake();
  }

  proxies(): ProxyStatus[] {
    return [...this.#streams].map((stream) => ({
      proxy: stream.node.id,
      type: stream.node.type,
      node: stream.node.nodeName,
      connectedMs: stream.connectedMs,
      acknowledged: stream.answeredRevision(),
      synced: stream.answeredRevision() >= this.#revision && stream.rejections().length === 0,
      subscriptions: stream.subscriptions(),
      rejections: stream.rejections(),
    }));
  }

  /**
   * Waits until every proxy that is connected or expected has a revision, or until waiting cannot help any more.
   *
   * @param timeoutMs then the laggards are named.
   */
  async waitFor(revision: number, timeoutMs: number): Promise<WaitResult> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const laggards = this.#laggards(revision);
      const waiting = laggards.filter(({ acknowledged }) => acknowledged < revision);
      const leftMs = deadline - performance.now();
      const known = revision <= this.#revision;
      // Those who refused it will not take it without another change.
      if ((known && waiting.length === 0) || leftMs <= 0)
        return {
          ...{ revision, laggards, proxies: this.#streams.size },
          done: known && laggards.length === 0,
        };
      await this.#nextEvent(leftMs);
    }
  }

  #laggards(revision: number): Laggard[] {
    const connected = [...this.#streams].flatMap((stream): Laggard[] => {
      const acknowledged = stream.answeredRevision();
      const about = { proxy: stream.node.id, node: stream.node.nodeName, acknowledged };
      if (acknowledged < revision) return [{ ...about, reason: 'not acknowledged' }];
      const refused = stream.rejections().filter((each) => each.revision <= revision);
      return refused.map(({ message }) => ({ ...about, reason: `rejected: ${message}` }));
    });
    return [...connected, ...this.#missing()];
  }

  /** Those who run and are not connected, as after a restart of ours: they still have what they had. */
  #missing(): Laggard[] {
    const connected = new Set([...this.#streams].map(({ node }) => podOfProxy(node.id)));
    return [...(this.#parts.expected?.() ?? [])].flatMap(({ pod, namespace, node }): Laggard[] => {
      const proxy = `${pod}.${namespace}`;
      if (connected.has(proxy)) return [];
      return [{ proxy, node, acknowledged: -1, reason: 'not connected' }];
    });
  }

  async #nextEvent(timeoutMs: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const wake = (): void => {
      resolve(undefined);
    };
    const timer = setTimeout(wake, timeoutMs);
    this.#waiters.add(wake);
    await promise;
    this.#waiters.delete(wake);
    clearTimeout(timer);
  }

  #wake(): void {
    for (const wake of this.#waiters) wake();
  }

  /** One stream from its opening on; never rejects. */
  async #serve(call: DeltaCall): Promise<void> {
    const { log, metrics, limiter } = this.#parts;
    // Without a listener a reset of the connection would end the process.
    call.on('error', () => undefined);
    const refuse = (code: status, details: string, reason = details): void => {
      log.warn('xDS stream refused', { peer: call.getPeer(), reason });
      metrics.refused();
      call.emit('error', { code, details });
    };
    if (!this.#ready) {
      refuse(status.UNAVAILABLE, 'the first picture of the configuration is not complete yet');
      return;
    }
    const waitMs = limiter.take();
    if (waitMs === undefined) {
      refuse(status.RESOURCE_EXHAUSTED, 'too many new streams');
      return;
    }
    if (waitMs > 0) await delay(waitMs);
    let caller: StreamCaller;
    try {
      caller = await this.#parts.authenticate(authorizationOf(call.metadata));
    } catch (error) {
      refuse(status.UNAUTHENTICATED, 'request authenticate failure', describeError(error));
      return;
    }
    if (call.cancelled) return;
    this.#run(call, caller, refuse);
  }

  #run(
    call: DeltaCall,
    caller: StreamCaller,
    refuse: (code: status, details: string) => void,
  ): void {
    let stream: ProxyStream | undefined;
    let ended = false;
    const end = (code: status, details: string): void => {
      ended = true;
      close();
      refuse(code, details);
    };
    const close = (): void => {
      if (stream === undefined) return;
      stream.close();
      if (this.#streams.delete(stream))
        this.#parts.log.info('proxy disconnected', { proxy: stream.node.id });
      this.#wake();
    };
    call.on('data', (request: DeltaDiscoveryRequest) => {
      if (ended) return;
      if (stream === undefined) {
        const node = parseNode(request.node);
        if (typeof node === 'string') {
          end(status.INVALID_ARGUMENT, node);
          return;
        }
        const mismatch = this.#whyNot(node, caller);
        if (mismatch !== undefined) {
          end(status.PERMISSION_DENIED, mismatch);
          return;
        }
        stream = this.#open(call, node, caller);
      }
      const problem = stream.receive(request);
      if (problem !== undefined) end(status.INVALID_ARGUMENT, problem);
    });
    call.on('end', () => {
      close();
      call.end();
    });
    call.on('cancelled', close);
    call.on('close', close);
    call.on('error', close);
  }

  /** Why a caller may not be the proxy that it says it is. */
  #whyNot(node: ProxyNode, caller: StreamCaller): string | undefined {
    const account = `${caller.namespace}/${caller.serviceAccount}`;
    if (caller.namespace !== node.namespace)
      return `the token is of namespace ${caller.namespace}, the node id of ${node.namespace}`;
    if (node.serviceAccount !== '' && node.serviceAccount !== caller.serviceAccount)
      return `the token is of account ${caller.serviceAccount}, the node's SERVICE_ACCOUNT is ${node.serviceAccount}`;
    const { trustedNodeAccounts, dedicatedAccounts, isWaypoint } = this.#parts;
    if (node.type === 'waypoint')
      return isWaypoint(caller.namespace, caller.serviceAccount)
        ? undefined
        : `${account} is the account of no waypoint: no Gateway of that name and class istio-waypoint is in its namespace`;
    if (trustedNodeAccounts.has(account) || dedicatedAccounts.has(account)) return undefined;
    return `${account} is no account of a node proxy (CA_TRUSTED_NODE_ACCOUNTS), nor of a dedicated one (DEDICATED_PROXY_ACCOUNTS)`;
  }

  #open(call: DeltaCall, node: ProxyNode, caller: StreamCaller): ProxyStream {
    const { log, metrics } = this.#parts;
    const stream = new ProxyStream(node, {
      store: this.#store,
      // The account of a waypoint has its Gateway's name.
      ...(node.type === 'waypoint'
        ? { waypoint: `${caller.namespace}/${caller.serviceAccount}` }
        : {}),
      revision: this.#revision,
      send: (bytes) =>
        new Promise((resolve) => {
          // The callback comes when the bytes have left for the connection, or never will.
          call.write(bytes, () => {
            resolve();
          });
        }),
      events: {
        onSent: (typeUrl, bytes) => {
          metrics.sent(typeUrl, bytes);
        },
        onAnswer: () => {
          this.#wake();
        },
        onRejected: ({ typeUrl, message }) => {
          log.warn('proxy rejected configuration', { proxy: node.id, typeUrl, message });
          metrics.rejected(typeUrl);
        },
        onBacklog: (full) => {
          if (full) call.pause();
          else call.resume();
        },
        onDelivered: (delayMs) => {
          metrics.delivered(delayMs);
        },
      },
    });
    this.#streams.add(stream);
    log.info('proxy connected', { proxy: node.id, node: node.nodeName });
    return stream;
  }
}

function authorizationOf(metadata: Metadata): string[] {
  return metadata.get('authorization').map(String);
}

/** The third part of `<type>~<ip>~<pod>.<namespace>~<domain>`. */
function podOfProxy(id: string): string | undefined {
  return id.split('~')[2];
}
