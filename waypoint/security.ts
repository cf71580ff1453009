import {
  CompiledHttpPolicies,
  type CustomDecision,
  type HttpDecision,
} from '../mesh/model/compiled-http-policies.ts';
import type { ExternalAuthorizer, HttpPolicy } from '../mesh/model/http-policy.ts';
import type { PolicyRequest, RequestIdentity } from '../mesh/model/http-policy-values.ts';
import type { SpiffeId } from '../mesh/model/identity.ts';
import type { Service } from '../mesh/model/service.ts';
import { STRICT_SETTINGS, type WaypointSettings } from '../mesh/model/waypoint-settings.ts';
import { serviceTarget, type SecurityTarget } from '../mesh/model/target-security.ts';
import { keyOfService } from '../mesh/proxy/state/vips.ts';
import type { WaypointStore } from '../mesh/proxy/state/waypoint-store.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import { policyConnection, policyRefusal, policyRequest, type PolicyEnds } from './authorize.ts';
import { CLIENT_CERTIFICATE, formatClientCertificate } from './client-certificate.ts';
import { AuthorizerClients } from './ext-authz/clients.ts';
import type { AuthorizationAnswer } from './ext-authz/question.ts';
import { holdBody, shownBody } from './ext-authz/body.ts';
import type { HttpRequest } from './http-request.ts';
import { JwtAuthenticator, type JwtOutcome } from './jwt.ts';
import { applyTokens, jwtRefusal } from './jwt-request.ts';
import type { LocalReply } from './local-reply.ts';
import type { Verdict } from './request-parts.ts';
import { RunningRequests } from './running-requests.ts';
import { UAEX } from './response-flags.ts';

export type SecurityOptions = Readonly<{
  store: WaypointStore;
  /** This waypoint. */
  gateway: SecurityTarget;
  identity: SpiffeId;
  /** Milliseconds since the epoch. */
  now: () => number;
}>;

/** Who calls what, by one connection. */
export type SecuredConnection = PolicyEnds &
  Readonly<{
    /** `undefined` for a pod at its own address. */
    service?: Service | undefined;
  }>;

/** All of a request that policy looks at. */
export type SecuredRequest = Pick<HttpRequest, 'head' | 'downstream'>;

export type SecurityExplanation = Readonly<{
  policies: readonly HttpPolicy[];
  custom: CustomDecision;
  verifiesTokens: boolean;
  decision: HttpDecision;
}>;

/** What a target that has not arrived is answered: without its policies nothing can be allowed. */
const NOT_READY: LocalReply = {
  ...{ status: 503, flags: 0, details: 'policies_not_ready', body: '' },
};

/** What holds at this waypoint for its services and for itself: external authorization, tokens, and policy. */
export class Security implements Disposable {
  readonly #options: SecurityOptions;
  readonly #policies = new CompiledHttpPolicies();
  /** By the first of the targets whose rules it holds; with other rules it is another one. */
  readonly #authenticators = new Map<SecurityTarget, JwtAuthenticator>();
  readonly #authorizers = new AuthorizerClients();
  readonly #ofGateway: readonly SecurityTarget[];
  readonly #running = new RunningRequests();
  #settings = STRICT_SETTINGS;
  readonly #ofServices = new WeakMap<Service, readonly SecurityTarget[]>();

  constructor(options: SecurityOptions) {
    this.#options = options;
    this.#ofGateway = [options.gateway];
  }

  /**
   * Takes what has changed.
   *
   * @throws {MeshError} ERR_PATH_TEMPLATE for policies that the codec should have refused.
   */
  onChange(targets: ReadonlySet<SecurityTarget>): void {
    const { store } = this.#options;
    for (const target of targets) {
      const policies = store.security(target)?.policies ?? [];
      this.#policies.set(target, policies);
      this.#authorizers.name(target, policies);
      if (target === this.#options.gateway) {
        this.#settings = store.security(target)?.settings ?? STRICT_SETTINGS;
        this.#authenticators.clear();
      } else this.#authenticators.delete(target);
    }
  }

  /**
   * Breaks off requests that are not permitted any more, after a change. Authorizers are not asked again.
   *
   * @param pause awaited after each millisecond of work; one macrotask.
   */
  async recheck(pause: () => Promise<void>): Promise<void> {
    await this.#running.recheck(({ downstream: { service } }, seen) => {
      if (!this.isReady(service)) return NOT_READY.details;
      const decision = this.#policies.decide(this.#targetsOf(service), seen);
      return decision.kind === 'allow' ? undefined : policyRefusal(decision).details;
    }, pause);
  }

  onRequestEnd(request: HttpRequest): void {
    this.#running.delete(request);
  }

  /** How this waypoint reads requests now. */
  get settings(): WaypointSettings {
    return this.#settings;
  }

  /** Whether all that must be asked has arrived. */
  isReady(service: Service | undefined): boolean {
    return this.#targetsOf(service).every(
      (target) => this.#options.store.security(target) !== undefined,
    );
  }

  /** Why a connection's bytes may not be carried as they are; `undefined` when they may. */
  refusalOfConnection(connection: SecuredConnection): string | undefined {
    const { service, remote } = connection;
    if (!this.isReady(service)) return 'the policies of its target have not arrived';
    const request: PolicyRequest = {
      ...{ connection: policyConnection(connection), remoteIp: remote.ip, sni: '' },
    };
    const targets = this.#targetsOf(service);
    const custom = this.#policies.custom(targets, request);
    if (custom.kind === 'deny') return custom.reason;
    // An authorizer of requests has no word for a connection.
    const [first] = custom.authorizers;
    if (first !== undefined) return `${first.policy} asks ${first.authorizer.name}`;
    const decision = this.#policies.decide(targets, request);
    return decision.kind === 'allow' ? undefined : decision.reason;
  }

  /** Decides about a request whose path is normalised. Only what has to be asked or verified makes it a promise. */
  authorize(request: HttpRequest): Verdict | Promise<Verdict> {
    const { service } = request.downstream;
    if (!this.isReady(service)) return NOT_READY;
    if (this.#settings.tellClientIdentity) this.#tellClientIdentity(request);
    const targets = this.#targetsOf(service);
    if (this.#policies.hasCustom(targets)) return this.#ask(request, targets);
    return this.#authenticate(request, targets);
  }

  /**
   * What policy would say of a request without a token, and nobody asked: those who would be are named.
   *
   * @returns `undefined` while the policies have not arrived.
   */
  explain(request: SecuredRequest): SecurityExplanation | undefined {
    const { service } = request.downstream;
    if (!this.isReady(service)) return undefined;
    const targets = this.#targetsOf(service);
    const asked = this.#policyRequest(request);
    return {
      policies: this.#policies.applying(targets),
      custom: this.#policies.custom(targets, asked),
      verifiesTokens: !this.#authenticatorOf(targets).isEmpty,
      decision: this.#policies.decide(targets, asked),
    };
  }

  [Symbol.dispose](): void {
    this.#authorizers[Symbol.dispose]();
  }

  /** Its own word for it is not in its head any more. */
  #tellClientIdentity({ head, downstream }: HttpRequest): void {
    if (downstream.identity === undefined) return;
    const value = formatClientCertificate(this.#options.identity, downstream.identity);
    head.list.push(CLIENT_CERTIFICATE, value);
  }

  async #ask(request: HttpRequest, targets: readonly SecurityTarget[]): Promise<Verdict> {
    const custom = this.#policies.custom(targets, this.#policyRequest(request));
    if (custom.kind === 'deny') {
      const { by } = custom;
      const { status, body, details } = policyRefusal(by === undefined ? {} : { by });
      return { status, flags: UAEX, body, details, ...(by && { policy: by.policy }) };
    }
    const held = await holdBody(
      request,
      custom.authorizers.map(({ authorizer }) => authorizer),
    );
    if (held !== undefined) return held;
    for (const { authorizer, policy } of custom.authorizers) {
      const refused = this.#apply(request, await this.#check(request, authorizer), policy);
      if (refused !== undefined) return refused;
    }
    return await this.#authenticate(request, targets);
  }

  async #check(request: HttpRequest, authorizer: ExternalAuthorizer): Promise<AuthorizationAnswer> {
    const { head, downstream } = request;
    const { identity } = downstream;
    const body = shownBody(request, authorizer);
    return await this.#authorizers.of(authorizer).check({
      ...{ id: head.requestId, headers: head.list, sni: '' },
      protocol: downstream.version === 'HTTP/2' ? 'HTTP/2' : 'HTTP/1.1',
      source: { address: downstream.remote, ...(identity && { identity }) },
      destination: { address: downstream.local },
      ...(body && { body }),
    });
  }

  #apply(request: HttpRequest, answer: AuthorizationAnswer, policy: string): Verdict {
    if (answer.kind === 'allow') {
      replaceHead(request, answer.headers);
      request.responseHeaders = [...request.responseHeaders, ...answer.responseHeaders];
      return undefined;
    }
    const { status, headers, body, details } = answer;
    return { status, flags: UAEX, details, body, headers, policy };
  }

  #authenticate(
    request: HttpRequest,
    targets: readonly SecurityTarget[],
  ): Verdict | Promise<Verdict> {
    const authenticator = this.#authenticatorOf(targets);
    if (authenticator.isEmpty) return this.#decide(request, targets, undefined);
    const outcome = authenticator.authenticate(request.head.list, this.#options.now());
    return outcome instanceof Promise
      ? outcome.then((late) => this.#afterTokens(request, targets, authenticator, late))
      : this.#afterTokens(request, targets, authenticator, outcome);
  }

  #authenticatorOf(targets: readonly SecurityTarget[]): JwtAuthenticator {
    const [first = this.#options.gateway] = targets;
    let authenticator = this.#authenticators.get(first);
    if (authenticator === undefined) {
      authenticator = new JwtAuthenticator(
        targets.flatMap((target) => this.#options.store.security(target)?.authentications ?? []),
      );
      this.#authenticators.set(first, authenticator);
    }
    return authenticator;
  }

  #afterTokens(
    request: HttpRequest,
    targets: readonly SecurityTarget[],
    authenticator: JwtAuthenticator,
    outcome: JwtOutcome,
  ): Verdict {
    const { head } = request;
    if (outcome.kind === 'refused') {
      const { authority, path: target } = head;
      const scheme = head.list[3] ?? 'http';
      const { status, headers, body, details } = jwtRefusal(outcome.fault, {
        ...{ scheme, authority, target },
      });
      return { status, flags: UAEX, headers, body, details };
    }
    replaceHead(request, applyTokens(authenticator, outcome, head.list));
    const identity = outcome.kind === 'verified' ? outcome.identity : undefined;
    request.claims = identity?.claims;
    return this.#decide(request, targets, identity);
  }

  #decide(
    request: HttpRequest,
    targets: readonly SecurityTarget[],
    identity: RequestIdentity | undefined,
  ): Verdict {
    const seen = this.#policyRequest(request, identity);
    return this.#running.judge(request, seen, this.#policies.decide(targets, seen));
  }

  #policyRequest(request: SecuredRequest, identity?: RequestIdentity): PolicyRequest {
    const { trustedProxies } = this.settings;
    return policyRequest(request, { trustedProxies, ...(identity && { identity }) });
  }

  #targetsOf(service: Service | undefined): readonly SecurityTarget[] {
    if (service === undefined) return this.#ofGateway;
    let targets = this.#ofServices.get(service);
    if (targets === undefined) {
      targets = [serviceTarget(keyOfService(service)), this.#options.gateway];
      this.#ofServices.set(service, targets);
    }
    return targets;
  }
}

function replaceHead({ head }: HttpRequest, headers: HeaderList): void {
  if (headers !== head.list) head.list = [...headers];
}
