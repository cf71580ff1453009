import type { Cidr } from '../../base/address.ts';
import type { PolicyKey, ServiceAccountMatch, StringMatch } from './authorization.ts';
import type { PathTemplate } from './path-template.ts';

/** Attributes that are one text, or a list of texts of which one must match. */
export type TextAttribute =
  | 'source.namespace'
  /** Without `spiffe://`. */
  | 'source.principal'
  | 'source.trustDomain'
  | 'connection.sni'
  /** In lower case, with or without its port: a value with a port means that port, one without means any. */
  | 'request.host'
  | 'request.method'
  /** `<issuer>/<subject>` of a token that was verified. */
  | 'request.auth.principal'
  | 'request.auth.audiences'
  | 'request.auth.presenter';

export type IpAttribute = 'source.ip' | 'remote.ip' | 'destination.ip';

type Values<T> = Readonly<{ values: readonly T[]; notValues: readonly T[] }>;

/** One of `values` must match, if there are any, and none of `notValues` may. */
export type HttpCondition = Readonly<
  | ({ attribute: TextAttribute } & Values<StringMatch>)
  | ({ attribute: 'source.serviceAccount' } & Values<ServiceAccountMatch>)
  | ({ attribute: IpAttribute } & Values<Cidr>)
  | ({ attribute: 'destination.port' } & Values<number>)
  /** The normalised path, without the query. */
  | ({ attribute: 'request.path' } & Values<StringMatch | PathTemplate>)
  /** Name in lower case. Of a field that comes several times each value is tested alone. */
  | ({ attribute: 'request.headers'; name: string } & Values<StringMatch>)
  /** Of a verified token; a text, or a list of texts of which one must match. */
  | ({ attribute: 'request.auth.claims'; claim: readonly string[] } & Values<StringMatch>)
>;
export type HttpAttribute = HttpCondition['attribute'];

/** All conditions must hold. One without conditions is skipped, as in L4's policies: it can be in no policy that is right. */
export type HttpMatch = Readonly<{ conditions: readonly HttpCondition[] }>;

/** Every clause must hold, of a clause one match; without clauses everything matches. */
export type HttpRule = Readonly<{
  clauses: readonly Readonly<{ matches: readonly HttpMatch[] }>[];
}>;

/** What only an authorizer has that is asked by HTTP. Names are in lower case: exact, `prefix*` or `*suffix`. */
export type HttpAuthorization = Readonly<{
  /** Stands before the request's own path. */
  pathPrefix: string;
  /** It is sent these in the place of the client's. */
  additionalHeaders: readonly Readonly<{ name: string; value: string }>[];
  /** Of its answer, what the backend gets of a request that may go on. */
  headersToUpstreamOnAllow: readonly string[];
  /** What the client gets with a denial; empty: all. */
  headersToDownstreamOnDeny: readonly string[];
  /** What the client gets with the backend's response. */
  headersToDownstreamOnAllow: readonly string[];
}>;

/** How an external authorizer is asked; Istio's `envoyExtAuthzGrpc` and `envoyExtAuthzHttp`. */
export type ExternalAuthorizer = Readonly<{
  /** As the mesh's configuration names it. */
  name: string;
  host: string;
  port: number;
  timeoutMs: number;
  /** Of a request that the authorizer could not be asked about. */
  failOpen: boolean;
  statusOnError: number;
  /** How much of a body it is shown; 0: none. */
  maxRequestBytes: number;
  /** A longer body is shown in part, instead of being refused with 413. */
  allowPartialMessage: boolean;
  packAsBytes: boolean;
  /**
   * Names in lower case that it is shown, exact, `prefix*` or `*suffix`. Empty: by gRPC all, by HTTP none but those that are
   * always shown.
   */
  includeHeaders: readonly string[];
  /** Where it is asked by HTTP; by gRPC without. */
  http?: HttpAuthorization;
}>;

export type HttpPolicyAction = Readonly<
  | { kind: 'ALLOW' | 'DENY' | 'AUDIT' }
  | { kind: 'CUSTOM'; authorizer: ExternalAuthorizer }
  /** An authorizer that cannot be asked: what the rules match is denied. */
  | { kind: 'CUSTOM'; problem: string }
>;

/** An AuthorizationPolicy for a waypoint. One of the rules must hold; a policy without rules never matches. */
export type HttpPolicy = Readonly<{
  key: PolicyKey;
  action: HttpPolicyAction;
  /** Evaluated and logged, never enforced. */
  dryRun: boolean;
  rules: readonly HttpRule[];
}>;

/** Whether only HTTP has the attribute: on other traffic it is not there to be looked at. */
function isHttpAttribute(attribute: HttpAttribute): boolean {
  return attribute.startsWith('request.');
}

/**
 * What is left of a rule for traffic that is not HTTP: an ALLOW rule that looks at HTTP allows nothing, and any other
 * is about everything that the rest of it matches, so that a DENY is never narrower than it was written.
 */
export function ruleWithoutHttp(
  rule: HttpRule,
  action: HttpPolicyAction['kind'],
): HttpRule | undefined {
  const looksAtHttp = ({ conditions }: HttpMatch): boolean =>
    conditions.some(({ attribute }) => isHttpAttribute(attribute));
  const clauses: { matches: readonly HttpMatch[] }[] = [];
  for (const { matches } of rule.clauses) {
    if (!matches.some(looksAtHttp)) {
      clauses.push({ matches });
    } else if (action === 'ALLOW') {
      const rest = matches.filter((match) => !looksAtHttp(match));
      if (rest.length === 0) return undefined;
      clauses.push({ matches: rest });
    } else {
      const rest = matches.map(({ conditions }) => ({
        conditions: conditions.filter(({ attribute }) => !isHttpAttribute(attribute)),
      }));
      // One that looked at HTTP alone holds for everything, and with it the clause.
      if (rest.every(({ conditions }) => conditions.length > 0)) clauses.push({ matches: rest });
    }
  }
  return { clauses };
}
