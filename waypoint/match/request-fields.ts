import { MeshError } from '../../base/errors.ts';
import { claimTexts } from '../../mesh/model/claims.ts';
import type { Regex } from '../../mesh/model/regex.ts';
import { wireText } from '../../mesh/model/wire-text.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { headerValue } from './header-value.ts';
import { readQuery } from './query.ts';

/** The fields that the rules of a table ask for, each name once, by the number that conditions know it by. */
export class FieldNames {
  readonly headers: string[] = [];
  /** Query parameters. */
  readonly parameters = new Map<string, number>();

  headerSlot(name: string): number {
    const known = this.headers.indexOf(name);
    return known >= 0 ? known : this.headers.push(name) - 1;
  }

  parameterSlot(name: string): number {
    const known = this.parameters.get(name);
    if (known !== undefined) return known;
    this.parameters.set(name, this.parameters.size);
    return this.parameters.size - 1;
  }
}

/**
 * What all patterns together may cost for one request, as Regex.costOf() counts: 40 ms where a character is one step, as is usual,
 * and 250 ms at worst. A client chooses how long its values are, but not against how many patterns they are held.
 */
const MAX_PATTERN_COST = 32 << 20;

const NO_HEADERS: HeaderList = [];

/**
 * One request as conditions see it. A table has one and fills it anew for every request; each field is looked up when the
 * first condition asks for it, and once however many ask.
 */
export class RequestFields {
  method = '';
  /** As it came, with its query; empty for a request without one. */
  path = '';
  /** Characters of `path` before the query. */
  pathLength = 0;
  sourceNamespace: string | undefined;
  /** Of the token that was verified. */
  #claims: object | undefined;

  readonly #names: FieldNames;
  #headers: HeaderList = NO_HEADERS;
  #pathAlone: string | undefined;
  #patternCost = 0;
  readonly #headerValues: (string | undefined)[];
  /** The request that a header was looked up in. */
  readonly #lookedUpIn: number[];
  #request = 0;
  readonly #parameters: (string | undefined)[];
  #parametersOf = 0;

  constructor(names: FieldNames) {
    this.#names = names;
    this.#headerValues = names.headers.map(() => undefined);
    this.#lookedUpIn = names.headers.map(() => 0);
    this.#parameters = Array.from({ length: names.parameters.size }, () => undefined);
  }

  load(headers: HeaderList, sourceNamespace: string | undefined, claims?: object): void {
    this.#request++;
    this.#headers = headers;
    this.#claims = claims;
    this.sourceNamespace = sourceNamespace;
    this.#patternCost = 0;
    this.method = requestMethod(headers);
    this.path = findHeader(headers, ':path') ?? '';
    const query = this.path.indexOf('?');
    this.pathLength = query < 0 ? this.path.length : query;
    this.#pathAlone = undefined;
  }

  /** Without the query. */
  pathAlone(): string {
    return (this.#pathAlone ??= this.path.slice(0, this.pathLength));
  }

  /** Of a pseudo-header field. */
  pseudo(name: ':authority' | ':scheme'): string | undefined {
    return name === ':authority'
      ? headerValue(this.#headers, 'host')
      : findHeader(this.#headers, name);
  }

  header(slot: number): string | undefined {
    if (this.#lookedUpIn[slot] !== this.#request) {
      this.#lookedUpIn[slot] = this.#request;
      const name = this.#names.headers[slot] ?? '';
      this.#headerValues[slot] =
        name === ':method' ? this.method : headerValue(this.#headers, name);
    }
    return this.#headerValues[slot];
  }

  /** As values of fields are written. */
  claimTexts(path: readonly string[]): readonly string[] {
    return this.#claims === undefined ? [] : claimTexts(this.#claims, path).map(wireText);
  }

  parameter(slot: number): string | undefined {
    if (this.#parametersOf !== this.#request) {
      this.#parametersOf = this.#request;
      this.#parameters.fill(undefined);
      readQuery(this.path, this.pathLength + 1, this.#names.parameters, this.#parameters);
    }
    return this.#parameters[slot];
  }

  /** @throws {MeshError} ERR_REGEX_INPUT for a value that is too long for the pattern, or for all that came before it. */
  isMatchedBy(regex: Regex, value: string): boolean {
    this.#patternCost += regex.costOf(value);
    if (this.#patternCost > MAX_PATTERN_COST) {
      const message = `Cannot match ${value.length} characters: the patterns of the routes cost too much`;
      throw new MeshError('ERR_REGEX_INPUT', 'downstream', message);
    }
    return regex.matches(value);
  }

  /** Lets go of the request: a table lives longer. */
  clear(): void {
    this.#headers = NO_HEADERS;
    this.#claims = undefined;
    this.path = '';
    this.#pathAlone = undefined;
  }
}

/**
 * The method that rules know a request by. A WebSocket that is opened by HTTP/2 comes as CONNECT with a protocol (RFC 8441);
 * what opens the same by HTTP/1.1 is a GET, and no rule should tell them apart.
 */
function requestMethod(headers: HeaderList): string {
  const method = findHeader(headers, ':method') ?? '';
  return method === 'CONNECT' && findHeader(headers, ':protocol') !== undefined ? 'GET' : method;
}
