import type { AddressFamily, IpAddress } from '../../base/address.ts';
import { adoptAnswer } from './cache.ts';
import {
  answerLimitBytes,
  encodeAnswer,
  encodeBareError,
  type Answer,
  type AnswerRecord,
} from './encode.ts';
import type { Forwarder } from './forward.ts';
import {
  CLASS_IN,
  decodeQuery,
  FLAG,
  HEADER_BYTES,
  RCODE,
  TYPE,
  type DnsQuery,
} from './message.ts';
import { resolveName, type NameScope, type ServiceLookup } from './names.ts';

/** How a query ended, for logs and metrics. */
export type AnswerEvent = Readonly<{
  outcome: 'mesh' | 'forwarded' | 'failed' | 'unknown client' | 'malformed';
  query: DnsQuery | undefined;
  transport: 'udp' | 'tcp';
  /** Of a forwarded or failed query, and of none else. */
  durationMs?: number;
  error?: unknown;
}>;

export type AnswerParts = Readonly<{
  lookup: ServiceLookup;
  /** Who asks in this pod; `undefined` while its workload is not known, which is answered with SERVFAIL. */
  scope: () => NameScope | undefined;
  forwarder: Forwarder;
  onEvent?: (event: AnswerEvent) => void;
  /** From 0 up to 1, as Math.random(). */
  random?: () => number;
}>;

/** As istio/ztunnel answers. */
const MESH_TTL_SECONDS = 30;

/**
 * The answer to one message of a client, or `undefined` for what is better met with silence. Never rejects.
 *
 * @param message is kept until the answer is there.
 */
export async function answerMessage(
  parts: AnswerParts,
  message: Buffer,
  transport: 'udp' | 'tcp',
): Promise<Buffer | undefined> {
  let query: DnsQuery;
  try {
    query = decodeQuery(message);
  } catch (error) {
    parts.onEvent?.({ outcome: 'malformed', query: undefined, transport, error });
    // To answer a response could go on for ever between two servers.
    const silent = message.length < HEADER_BYTES || (message.readUInt16BE(2) & FLAG.response) !== 0;
    return silent ? undefined : encodeBareError(message, RCODE.formErr);
  }
  const limitBytes = answerLimitBytes(query, transport);
  const reply = (answer: Answer): Buffer => encodeAnswer(query, answer, limitBytes);
  if (query.opcode !== 0) return reply({ rcode: RCODE.notImp });
  const scope = parts.scope();
  if (scope === undefined) {
    parts.onEvent?.({ outcome: 'unknown client', query, transport });
    return reply({ rcode: RCODE.servFail });
  }
  const known = answerFromMesh(parts, scope, query);
  if (known !== undefined) {
    parts.onEvent?.({ outcome: 'mesh', query, transport });
    return reply(known);
  }
  const startMs = performance.now();
  try {
    const answer = await parts.forwarder.ask(query);
    adoptAnswer(answer, query);
    const durationMs = performance.now() - startMs;
    parts.onEvent?.({ outcome: 'forwarded', query, transport, durationMs });
    if (answer.length <= limitBytes) return answer;
    return encodeTruncated(query, answer, limitBytes);
  } catch (error) {
    const durationMs = performance.now() - startMs;
    parts.onEvent?.({ outcome: 'failed', query, transport, durationMs, error });
    return reply({ rcode: RCODE.servFail });
  }
}

function answerFromMesh(parts: AnswerParts, scope: NameScope, query: DnsQuery): Answer | undefined {
  const { question } = query;
  const family = familyOfType(question.type);
  if (family === undefined || question.class !== CLASS_IN) return undefined;
  const result = resolveName(parts.lookup, scope, question.name.text, family);
  if (result.kind === 'forward') return undefined;
  const { canonicalName } = result;
  const owner = canonicalName === undefined ? {} : { owner: canonicalName };
  const addresses = shuffle(result.addresses, parts.random ?? Math.random);
  const records = addresses.map((ip): AnswerRecord => ({ kind: 'address', ...owner, ip }));
  if (canonicalName !== undefined && records.length > 0)
    records.unshift({ kind: 'cname', target: canonicalName });
  return { rcode: RCODE.ok, authoritative: true, ttlSeconds: MESH_TTL_SECONDS, records };
}

function familyOfType(type: number): AddressFamily | undefined {
  return type === TYPE.A ? 4 : type === TYPE.AAAA ? 6 : undefined;
}

/** The head of an answer that is too long for a datagram: its TC flag sends the client to TCP. */
function encodeTruncated(query: DnsQuery, answer: Buffer, limitBytes: number): Buffer {
  const head = encodeAnswer(query, { rcode: answer.readUInt16BE(2) & 15 }, limitBytes);
  head.writeUInt16BE(head.readUInt16BE(2) | FLAG.truncated, 2);
  return head;
}

/** Fisher and Yates; clients take the first address, so each must come first equally often. */
function shuffle(addresses: readonly IpAddress[], random: () => number): IpAddress[] {
  const rest = [...addresses];
  const shuffled: IpAddress[] = [];
  while (rest.length > 0) shuffled.push(...rest.splice(Math.floor(random() * rest.length), 1));
  return shuffled;
}
