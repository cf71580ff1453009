import { randomBytes } from 'node:crypto';
import { ADDRESS_TYPE, AUTHORIZATION_TYPE } from '../../mesh/xds/codec.ts';
import { WAYPOINT_TYPES } from '../../mesh/xds/waypoint-codecs.ts';
import type { DeltaDiscoveryRequest } from '../../mesh/proto/gen/discovery.ts';
import type { ResourceChange } from '../translate/translator.ts';
import { Delivery, type Rejection } from './delivery.ts';
import type { ProxyNode } from './node.ts';
import { Subscription, type Answer, type ResourceStore } from './subscriptions.ts';
import { encodeResponse } from './wire.ts';

/** Where a stream's responses go; resolves when the bytes have left, which is what keeps a slow proxy's queue short. */
export type SendResponse = (bytes: Buffer) => Promise<void>;

export type StreamEvents = Readonly<{
  onSent: (typeUrl: string, bytes: number) => void;
  /** The proxy has answered something, so what it has may be more than before. */
  onAnswer: () => void;
  onRejected: (rejection: Rejection) => void;
  /** True: the proxy asks faster than it reads, so nothing more should be read from it for now. */
  onBacklog: (full: boolean) => void;
  /** How long a change waited until it was sent. */
  onDelivered: (delayMs: number) => void;
}>;

/** Answers that may wait for one proxy. */
const MAX_BACKLOG = 16;

/** What is named comes before what names it: workloads name policies, routes name services and their subsets. */
const SEND_ORDER: readonly string[] = [AUTHORIZATION_TYPE, ADDRESS_TYPE, ...WAYPOINT_TYPES];

/** What goes out next, and under what delivery knows it. */
type Outgoing = Readonly<{ typeUrl: string; answer: Answer; what: object; partly?: boolean }>;

/** One proxy's stream: its subscriptions, and one merged push that waits while another is on its way. */
export class ProxyStream {
  readonly node: ProxyNode;
  readonly connectedMs = Date.now();
  readonly #waypoint: string | undefined;
  readonly #store: ResourceStore;
  readonly #send: SendResponse;
  readonly #events: StreamEvents;
  /** What it has been told of, or begins with. */
  #revision: number;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #delivery = new Delivery();
  /** Answers to requests; they go before pushes. */
  readonly #answers: Outgoing[] = [];
  #sending = false;
  #closed = false;
  #pendingSinceMs = 0;
  #count = 0;
  readonly #nonceSalt = randomBytes(6).toString('hex');

  constructor(
    node: ProxyNode,
    parts: Readonly<{
      store: ResourceStore;
      send: SendResponse;
      /** Of a waypoint, what its token proves: `<namespace>/<name>` of its Gateway. */
      waypoint?: string;
      /** Of what is in the store now. */
      revision: number;
      events: StreamEvents;
    }>,
  ) {
    this.node = node;
    this.#waypoint = parts.waypoint;
    this.#store = parts.store;
    this.#send = parts.send;
    this.#revision = parts.revision;
    this.#events = parts.events;
  }

  /** Takes one request; a reason instead when it cannot be served. */
  receive(request: DeltaDiscoveryRequest): string | undefined {
    const { typeUrl, responseNonce, errorDetail } = request;
    if (this.#store.resources(typeUrl) === undefined)
      return `resources of type ${JSON.stringify(typeUrl.slice(0, 128))} are not served`;
    if (this.#waypoint === undefined && WAYPOINT_TYPES.includes(typeUrl))
      return `resources of type ${JSON.stringify(typeUrl)} are served to waypoints alone`;
    const asked = {
      subscribe: request.resourceNamesSubscribe,
      unsubscribe: request.resourceNamesUnsubscribe,
      initialVersions: request.initialResourceVersions,
    };
    const known = this.#subscriptions.get(typeUrl);
    // A refusal is known by the presence of its text: ztunnel sends code 0 with it. What was refused is not sent again.
    if (errorDetail !== undefined) {
      const { message } = errorDetail;
      const revision = this.#revision;
      const rejection = this.#delivery.rejected(typeUrl, responseNonce, message, revision);
      if (rejection !== undefined) this.#events.onRejected(rejection);
      this.#events.onAnswer();
      return undefined;
    }
    if (known === undefined) {
      const subscription = new Subscription(typeUrl, this.#store, asked, {
        node: this.node.nodeName,
        ...(this.#waypoint === undefined ? {} : { waypoint: this.#waypoint }),
      });
      this.#subscriptions.set(typeUrl, subscription);
      this.#queue(typeUrl, subscription.begin(asked), 0);
      return undefined;
    }
    if (responseNonce !== '' && this.#delivery.acknowledged(typeUrl, responseNonce))
      this.#events.onAnswer();
    const answer = known.change(asked);
    if (answer !== undefined) this.#queue(typeUrl, answer, this.#revision);
    return undefined;
  }

  /** Takes note of a change; what of it concerns the proxy is sent as soon as the line is free. */
  push({ revision, changed, changedForWaypoints }: ResourceChange): void {
    this.#revision = revision;
    const concerns = this.#mark(changed, revision);
    const asWaypoint = this.#waypoint !== undefined && this.#mark(changedForWaypoints, revision);
    if (!concerns && !asWaypoint) return;
    if (this.#pendingSinceMs === 0) this.#pendingSinceMs = performance.now();
    this.#flush();
  }

  #mark(changed: ResourceChange['changed'], revision: number): boolean {
    let any = false;
    for (const [typeUrl, names] of changed) {
      const subscription = this.#subscriptions.get(typeUrl);
      if (subscription === undefined || names.size === 0) continue;
      if (!subscription.mark(names)) continue;
      this.#delivery.waits(subscription, revision);
      any = true;
    }
    return any;
  }

  close(): void {
    this.#closed = true;
  }

  /** The revision up to which the proxy has answered everything that concerns it. */
  answeredRevision(): number {
    // A ztunnel asks for both; until it has, it has not the whole of any revision.
    const whole = [ADDRESS_TYPE, AUTHORIZATION_TYPE].every((type) => this.#subscriptions.has(type));
    if (this.node.type === 'ztunnel' && !whole) return -1;
    // A waypoint asks for all that it knows of at once; which of the types that is, only it can tell.
    if (this.node.type === 'waypoint' && !this.#subscriptions.has(ADDRESS_TYPE)) return -1;
    return this.#delivery.answeredRevision(this.#revision);
  }

  rejections(): readonly Rejection[] {
    return this.#delivery.rejections();
  }

  /** Types that it subscribed to, and whether to all of each. */
  subscriptions(): { typeUrl: string; wildcard: boolean }[] {
    return [...this.#subscriptions.values()].map(({ typeUrl, wildcard }) => ({
      typeUrl,
      wildcard,
    }));
  }

  #queue(typeUrl: string, answer: Answer, from: number): void {
    this.#delivery.waits(answer, from);
    this.#answers.push({ typeUrl, answer, what: answer });
    if (this.#answers.length === MAX_BACKLOG) this.#events.onBacklog(true);
    this.#flush();
  }

  #flush(): void {
    if (this.#sending || this.#closed) return;
    const next = this.#next();
    if (next === undefined) return;
    const { typeUrl, answer, what, partly = false } = next;
    const revision = this.#revision;
    this.#count++;
    const nonce = `${revision}-${this.#count}-${this.#nonceSalt}`;
    const { frames, removed } = answer;
    const bytes = encodeResponse({ revision, typeUrl, nonce, frames, removed });
    this.#delivery.sent(what, { typeUrl, nonce, names: answer.names, partly });
    this.#sending = true;
    this.#events.onSent(typeUrl, bytes.length);
    void this.#send(bytes).then(() => {
      this.#sending = false;
      this.#flush();
    });
  }

  #next(): Outgoing | undefined {
    const answer = this.#answers.shift();
    if (answer !== undefined) {
      if (this.#answers.length === MAX_BACKLOG - 1) this.#events.onBacklog(false);
      return answer;
    }
    // What is new goes in that order, and what goes away in the reverse of it.
    const pending = SEND_ORDER.flatMap((typeUrl) => {
      const subscription = this.#subscriptions.get(typeUrl);
      return subscription?.hasPending === true ? [subscription] : [];
    });
    const last = pending.pop();
    for (const subscription of pending) {
      const answer = subscription.takePresent();
      if (answer === undefined) continue;
      const { typeUrl, hasPending } = subscription;
      return { typeUrl, answer, what: subscription, partly: hasPending };
    }
    if (last !== undefined) return { typeUrl: last.typeUrl, answer: last.take(), what: last };
    if (this.#pendingSinceMs !== 0) {
      this.#events.onDelivered(performance.now() - this.#pendingSinceMs);
      this.#pendingSinceMs = 0;
    }
    return undefined;
  }
}
