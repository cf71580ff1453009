import type { PolicyMatch, ServiceAccountMatch, StringMatch } from './authorization.ts';
import type { PolicyConnection } from './authorize.ts';
import { identityParts, principalOf } from './identity.ts';
import {
  CidrTable,
  releaseTests,
  TextTable,
  useValues,
  valueIn,
  type FieldTest,
  type PolicyValue,
  type ValueStore,
} from './value-tables.ts';

/**
 * What a value is compared with; a field of a match and its `not` twin share a dimension. In the order in which
 * RuleIndex divides.
 */
type Dimension = 0 | 1 | 2 | 3 | 4 | 5;
const DIMENSIONS: readonly Dimension[] = [0, 1, 2, 3, 4, 5];

const ACCOUNT: Dimension = 0;
const PORT: Dimension = 1;
const NAMESPACE: Dimension = 2;
const PRINCIPAL: Dimension = 3;
const DESTINATION_IP: Dimension = 4;
const SOURCE_IP: Dimension = 5;

/** All values that policies use, with tables to find those that a connection matches. */
export class PolicyValues implements ValueStore<PolicyMatch> {
  readonly #principals = new TextTable(PRINCIPAL);
  readonly #namespaces = new TextTable(NAMESPACE);
  readonly #accounts = new Map<string, PolicyValue>();
  readonly #sources = new CidrTable(SOURCE_IP);
  readonly #destinations = new CidrTable(DESTINATION_IP);
  readonly #ports = new Map<number, PolicyValue>();
  /** By dimension: the values that the connection of the current stamp matches. */
  readonly matched: readonly PolicyValue[][] = DIMENSIONS.map(() => []);
  stamp = 0;

  /** The tests of a match, one for each field that has values. Each must be given back with release(). */
  acquire(match: PolicyMatch): readonly FieldTest[] {
    const tests: FieldTest[] = [];
    const field = <T>(
      dimension: Dimension,
      positive: readonly T[],
      negative: readonly T[],
      find: (value: T) => PolicyValue,
      absent?: TextTable,
    ): void => {
      if (positive.length > 0) {
        const values = useValues(positive, find);
        tests.push({ dimension, negative: false, values, wanted: values });
      }
      if (negative.length > 0) {
        const values = useValues(negative, find);
        // "Not any" is the wish that there be none, and as a wish it divides.
        const wanted = absent?.hasPresence(values) === true ? [absent.absence] : undefined;
        tests.push({ dimension, negative: true, values, ...(wanted && { wanted }) });
      }
    };
    const { namespaces, principals, serviceAccounts, sourceIps, destinationIps } = match;
    const principalTable = this.#principals;
    const namespaceTable = this.#namespaces;
    field(PRINCIPAL, principals, match.notPrincipals, findIn(principalTable), principalTable);
    field(NAMESPACE, namespaces, match.notNamespaces, findIn(namespaceTable), namespaceTable);
    field(ACCOUNT, serviceAccounts, match.notServiceAccounts, (value) => this.#account(value));
    field(SOURCE_IP, sourceIps, match.notSourceIps, (value) => this.#sources.value(value));
    field(DESTINATION_IP, destinationIps, match.notDestinationIps, (value) =>
      this.#destinations.value(value),
    );
    field(PORT, match.destinationPorts, match.notDestinationPorts, (value) => this.#port(value));
    return tests;
  }

  release(tests: readonly FieldTest[]): void {
    releaseTests(tests);
  }

  /** Marks what a connection matches, for the tests that follow. */
  match(connection: PolicyConnection): void {
    const { sourceIdentity } = connection;
    this.stamp++;
    for (const list of this.matched) list.length = 0;
    let namespace = '';
    if (sourceIdentity === undefined) this.#mark(this.#principals.absence);
    else {
      const parts = identityParts(sourceIdentity);
      namespace = parts.namespace;
      this.#principals.find(principalOf(sourceIdentity), this.#mark);
      this.#mark(this.#accounts.get(accountKey(parts)));
    }
    this.#namespaces.find(namespace, this.#mark);
    this.#sources.find(connection.sourceIp, this.#mark);
    this.#destinations.find(connection.destinationIp, this.#mark);
    this.#mark(this.#ports.get(connection.destinationPort));
  }

  readonly #mark = (value: PolicyValue | undefined): void => {
    if (value === undefined) return;
    value.stamp = this.stamp;
    this.matched[value.dimension]?.push(value);
  };

  #account(wanted: ServiceAccountMatch): PolicyValue {
    return valueIn(this.#accounts, accountKey(wanted), ACCOUNT);
  }

  #port(wanted: number): PolicyValue {
    return valueIn(this.#ports, wanted, PORT);
  }
}

function findIn(table: TextTable): (wanted: StringMatch) => PolicyValue {
  return (wanted) => table.value(wanted);
}

/** A service account as the key of a table. */
export function accountKey({ namespace, serviceAccount }: ServiceAccountMatch): string {
  return `${namespace}/${serviceAccount}`;
}
