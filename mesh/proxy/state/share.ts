import type { AuthorizationPolicy, PolicyMatch } from '../../model/authorization.ts';
import type { Service } from '../../model/service.ts';
import type { Workload } from '../../model/workload.ts';

/** Bounds on what is remembered for sharing; beyond them sharing starts anew, and what was shared stays as it is. */
const MAX_TEXTS = 32_768;
const MAX_SHAPES = 8192;

const EMPTY: readonly never[] = Object.freeze([]);

/**
 * Makes equal parts of configuration one object: thousands of pods have the same namespace, node, locality, services
 * and policies, and each message is decoded into texts of its own.
 */
export class Sharer {
  readonly #texts = new Map<string, string>();
  readonly #shapes = new Map<string, unknown>();

  workload(workload: Workload): Workload {
    const { waypoint, networkGateway, applicationTunnel, locality } = workload;
    return {
      ...workload,
      network: this.#text(workload.network),
      namespace: this.#text(workload.namespace),
      clusterId: this.#text(workload.clusterId),
      trustDomain: this.#text(workload.trustDomain),
      serviceAccount: this.#text(workload.serviceAccount),
      node: this.#text(workload.node),
      canonicalName: this.#text(workload.canonicalName),
      canonicalRevision: this.#text(workload.canonicalRevision),
      workloadName: this.#text(workload.workloadName),
      locality: this.#shape(`l${JSON.stringify(locality)}`, locality),
      services: this.#shape(`s${JSON.stringify([...workload.services])}`, workload.services),
      authorizationPolicies: this.#list('p', workload.authorizationPolicies),
      ...(waypoint && { waypoint: this.#shape(`g${JSON.stringify(waypoint)}`, waypoint) }),
      ...(networkGateway && {
        networkGateway: this.#shape(`g${JSON.stringify(networkGateway)}`, networkGateway),
      }),
      ...(applicationTunnel && {
        applicationTunnel: this.#shape(`t${applicationTunnel.port}`, applicationTunnel),
      }),
    };
  }

  service(service: Service): Service {
    const { waypoint, loadBalancing } = service;
    return {
      ...service,
      namespace: this.#text(service.namespace),
      ports: this.#list('o', service.ports),
      subjectAltNames: this.#list('n', service.subjectAltNames),
      weightedWaypoints: this.#list('w', service.weightedWaypoints),
      loadBalancing: this.#shape(`b${JSON.stringify(loadBalancing)}`, loadBalancing),
      ...(waypoint && { waypoint: this.#shape(`g${JSON.stringify(waypoint)}`, waypoint) }),
    };
  }

  /** Policies differ from each other; what they share are the many fields without values. */
  policy(policy: AuthorizationPolicy): AuthorizationPolicy {
    const rules = policy.rules.map((rule) => ({
      clauses: rule.clauses.map((clause) => ({ matches: clause.matches.map(shareEmptyFields) })),
    }));
    return { ...policy, namespace: this.#text(policy.namespace), rules };
  }

  #text<T extends string>(text: T): T {
    const known = this.#texts.get(text);
    if (known !== undefined) return known as T;
    if (this.#texts.size >= MAX_TEXTS) this.#texts.clear();
    this.#texts.set(text, text);
    return text;
  }

  #list<T>(kind: string, list: readonly T[]): readonly T[] {
    return list.length === 0 ? EMPTY : this.#shape(kind + JSON.stringify(list), list);
  }

  /** @param key says the kind of the shape too, so that one key always stands for one type. */
  #shape<T>(key: string, shape: T): T {
    const known = this.#shapes.get(key);
    if (known !== undefined) return known as T;
    if (this.#shapes.size >= MAX_SHAPES) this.#shapes.clear();
    this.#shapes.set(key, shape);
    return shape;
  }
}

function shareEmptyFields(match: PolicyMatch): PolicyMatch {
  const orEmpty = <T>(list: readonly T[]): readonly T[] => (list.length === 0 ? EMPTY : list);
  return {
    namespaces: orEmpty(match.namespaces),
    notNamespaces: orEmpty(match.notNamespaces),
    principals: orEmpty(match.principals),
    notPrincipals: orEmpty(match.notPrincipals),
    serviceAccounts: orEmpty(match.serviceAccounts),
    notServiceAccounts: orEmpty(match.notServiceAccounts),
    sourceIps: orEmpty(match.sourceIps),
    notSourceIps: orEmpty(match.notSourceIps),
    destinationIps: orEmpty(match.destinationIps),
    notDestinationIps: orEmpty(match.notDestinationIps),
    destinationPorts: orEmpty(match.destinationPorts),
    notDestinationPorts: orEmpty(match.notDestinationPorts),
  };
}
