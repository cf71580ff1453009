import { ipFromBytes, type IpAddress } from '../../base/address.ts';
import { MeshError } from '../../base/errors.ts';
import { encodeName } from './encode.ts';
import type { Forwarder } from './forward.ts';
import {
  CLASS_IN,
  decodeAnswers,
  decodeName,
  FLAG,
  TYPE,
  type DnsName,
  type DnsQuery,
} from './message.ts';

/** RFC 1123 section 2.1, and the `_` that names in use have. */
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
/** RFC 1035 section 2.3.4, without the first length and the root. */
const MAX_HOST_CHARACTERS = 253;

/** Resolves host names for the proxy itself, by its own resolvers; answers are kept as long as they say. */
export class HostResolver {
  readonly #forwarder: Pick<Forwarder, 'ask'>;
  readonly #types: readonly number[];

  constructor(forwarder: Pick<Forwarder, 'ask'>, { ipv6 }: Readonly<{ ipv6: boolean }>) {
    this.#forwarder = forwarder;
    this.#types = ipv6 ? [TYPE.A, TYPE.AAAA] : [TYPE.A];
  }

  /**
   * All addresses of a host, IPv4 first; none when it has none. The name is taken as it is, without search domains.
   *
   * @throws {MeshError} ERR_DNS_NAME for what is no host name, ERR_DNS_UPSTREAM when neither family can be asked.
   */
  async resolve(hostname: string): Promise<readonly IpAddress[]> {
    const name = parseHostName(hostname);
    const asked = await Promise.allSettled(this.#types.map((type) => this.#ask(name, type)));
    // One family is enough: a resolver that drops AAAA must not cut off a host with an IPv4 address.
    if (asked.every(({ status }) => status === 'rejected')) {
      const [failed] = asked;
      throw failed?.status === 'rejected' ? failed.reason : new Error('nothing was asked');
    }
    return asked.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
  }

  async #ask(name: DnsName, type: number): Promise<readonly IpAddress[]> {
    const query: DnsQuery = {
      ...{ id: 0, flags: FLAG.recursionDesired, opcode: 0, edns: undefined },
      question: { name, type, class: CLASS_IN },
    };
    return decodeAddresses(await this.#forwarder.ask(query), name.text, type);
  }
}

/**
 * The addresses that a response gives for a name, through the aliases in it. Records of other names are passed over:
 * whoever answers for one name has no say about another.
 *
 * @throws {MeshError} ERR_DNS_FORMAT
 */
export function decodeAddresses(response: Buffer, name: string, type: number): IpAddress[] {
  const names = new Set([name]);
  const found: IpAddress[] = [];
  for (const { start, type: recordType, class: recordClass, dataBytes, end } of decodeAnswers(
    response,
  )) {
    if (recordClass !== CLASS_IN || !names.has(decodeName(response, start))) continue;
    if (recordType === TYPE.CNAME) names.add(decodeName(response, end - dataBytes));
    else if (recordType === type && dataBytes === (type === TYPE.A ? 4 : 16))
      found.push(ipFromBytes(response.subarray(end - dataBytes, end)));
  }
  return found;
}

function parseHostName(hostname: string): DnsName {
  const text = hostname.toLowerCase().replace(/\.$/, '');
  if (text.length > MAX_HOST_CHARACTERS || !text.split('.').every((label) => LABEL.test(label)))
    throw new MeshError(
      'ERR_DNS_NAME',
      'local',
      `Cannot resolve ${JSON.stringify(hostname.slice(0, MAX_HOST_CHARACTERS))}: no host name`,
    );
  return { text, wire: encodeName(text) };
}
