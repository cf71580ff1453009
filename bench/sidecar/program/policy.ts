import { setImmediate as pause } from 'node:timers/promises';
import { policyKey } from '../../../mesh/model/authorization.ts';
import { CompiledHttpPolicies } from '../../../mesh/model/compiled-http-policies.ts';
import type { HttpPolicy } from '../../../mesh/model/http-policy.ts';
import { parseSpiffeId, principalOf } from '../../../mesh/model/identity.ts';
import { policyRefusal, policyRequest } from '../../../waypoint/authorize.ts';
import type { HttpRequest } from '../../../waypoint/http-request.ts';
import type { Verdict } from '../../../waypoint/request-parts.ts';
import { RunningRequests } from '../../../waypoint/running-requests.ts';
import { APP_NAMESPACE, identityOf } from '../../ambient/application.ts';
import type { PolicyFile } from '../halo-files.ts';

/** What policies are attached to here: there is only this one pod. */
const TARGETS = ['pod'] as const;
const TRUSTED_PROXIES = { trustedProxies: 0 };

/** Who may call the application, by identity. Until it is told of anybody, nobody. */
export class InboundPolicy {
  readonly #policies = new CompiledHttpPolicies();
  readonly #running = new RunningRequests();

  constructor() {
    this.#policies.set(TARGETS[0], [policy('ALLOW', [])]);
  }

  authorize(request: HttpRequest): Verdict {
    const seen = policyRequest(request, TRUSTED_PROXIES);
    return this.#running.judge(request, seen, this.#policies.decide(TARGETS, seen));
  }

  onRequestEnd(request: HttpRequest): void {
    this.#running.delete(request);
  }

  /** Holds from the next request on, and breaks off those that it does not permit. */
  async replace({ allow, deny }: PolicyFile): Promise<void> {
    const denies = deny.length > 0 ? [policy('DENY', deny)] : [];
    this.#policies.set(TARGETS[0], [...denies, policy('ALLOW', allow)]);
    await this.#running.recheck((_request, seen) => {
      const decision = this.#policies.decide(TARGETS, seen);
      return decision.kind === 'allow' ? undefined : policyRefusal(decision).details;
    }, pause);
  }
}

function policy(kind: 'ALLOW' | 'DENY', accounts: readonly string[]): HttpPolicy {
  const values = accounts.map((account) => ({
    ...({ kind: 'exact', value: principalOf(parseSpiffeId(identityOf(account))) } as const),
  }));
  const condition = { attribute: 'source.principal', values, notValues: [] } as const;
  return {
    key: policyKey(APP_NAMESPACE, kind.toLowerCase()),
    ...{ action: { kind }, dryRun: false },
    // A condition without values would hold for anybody.
    rules: values.length === 0 ? [] : [{ clauses: [{ matches: [{ conditions: [condition] }] }] }],
  };
}
