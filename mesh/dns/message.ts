import { MeshError } from '../../base/errors.ts';

/** RFC 1035 section 3.2.2 and RFC 3596; the types that this server knows by name. */
export const TYPE = { A: 1, CNAME: 5, SOA: 6, AAAA: 28, OPT: 41 } as const;
export const CLASS_IN = 1;
/** RFC 1035 section 4.1.1. */
export const RCODE = { ok: 0, formErr: 1, servFail: 2, nxDomain: 3, notImp: 4 } as const;

/** RFC 1035 section 4.1.1: the header. */
export const HEADER_BYTES = 12;
/** RFC 1035 section 2.3.4. */
const MAX_NAME_BYTES = 255;
const MAX_LABEL_BYTES = 63;
/** RFC 1035 section 4.2.1: what every client takes over UDP. */
export const MIN_UDP_BYTES = 512;
/** What fits one packet on every path (DNS flag day 2020); it also bounds amplification. */
export const MAX_UDP_BYTES = 1232;
/** The records of a message that is looked at; a header may claim 65,535 in each section. */
const MAX_RECORDS = 1024;

export const FLAG = {
  response: 0x8000,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursionDesired: 0x0100,
  recursionAvailable: 0x0080,
  checkingDisabled: 0x0010,
} as const;

export type DnsName = Readonly<{
  /** Lower case, without a final dot; bytes that are no plain character are `\ddd`. The root is ''. */
  text: string;
  /** As it came, uncompressed. */
  wire: Buffer;
}>;

export type DnsQuestion = Readonly<{ name: DnsName; type: number; class: number }>;

export type DnsQuery = Readonly<{
  id: number;
  flags: number;
  opcode: number;
  question: DnsQuestion;
  /** RFC 6891. */
  edns: Readonly<{ udpBytes: number; dnssecOk: boolean; version: number }> | undefined;
}>;

/** What is known of a response without reading what its records say. */
export type DnsResponse = Readonly<{
  id: number;
  flags: number;
  rcode: number;
  question: DnsQuestion;
  answers: number;
  /** Where the TTLs stand that count down. */
  ttlOffsets: readonly number[];
  /** Of all records; `undefined` without any. */
  minTtlSeconds: number | undefined;
  /** RFC 2308 section 5: how long a negative answer holds; `undefined` where no SOA says so. */
  negativeTtlSeconds: number | undefined;
}>;

/**
 * Decodes a query: one question, nothing answered, at most one OPT.
 *
 * @throws {MeshError} ERR_DNS_FORMAT for whatever is not exactly that, or does not end where it says.
 */
export function decodeQuery(bytes: Buffer): DnsQuery {
  const header = decodeHeader(bytes);
  if ((header.flags & FLAG.response) !== 0) throw formatError('a response');
  if (header.answers + header.authorities > 0) throw formatError('records in a query');
  const { question, end } = decodeQuestion(bytes, header.questions);
  let edns: DnsQuery['edns'];
  let at = end;
  for (let index = 0; index < header.additionals; index++) {
    const record = decodeRecord(bytes, at);
    at = record.end;
    if (record.type !== TYPE.OPT) continue;
    if (edns !== undefined || bytes[record.start] !== 0) throw formatError('a wrong OPT record');
    const version = (record.ttl >>> 16) & 0xff;
    edns = { udpBytes: record.class, dnssecOk: (record.ttl & 0x8000) !== 0, version };
  }
  if (at !== bytes.length) throw formatError('bytes behind the message');
  return { id: header.id, flags: header.flags, opcode: (header.flags >> 11) & 15, question, edns };
}

/**
 * Decodes what a resolver needs of a response. Names in records are skipped, not followed.
 *
 * @throws {MeshError} ERR_DNS_FORMAT for whatever is no whole response to one question.
 */
export function decodeResponse(bytes: Buffer): DnsResponse {
  const header = decodeHeader(bytes);
  if ((header.flags & FLAG.response) === 0) throw formatError('a query');
  const { question, end } = decodeQuestion(bytes, header.questions);
  const ttlOffsets: number[] = [];
  let minTtlSeconds: number | undefined;
  let negativeTtlSeconds: number | undefined;
  let at = end;
  const total = header.answers + header.authorities + header.additionals;
  for (let index = 0; index < total; index++) {
    const record = decodeRecord(bytes, at);
    at = record.end;
    if (record.type === TYPE.OPT) continue;
    ttlOffsets.push(record.ttlOffset);
    // RFC 2181 section 8: with the first bit set, a TTL counts as zero.
    const ttl = record.ttl > 0x7fffffff ? 0 : record.ttl;
    minTtlSeconds = Math.min(minTtlSeconds ?? ttl, ttl);
    const inAuthority = index >= header.answers && index < header.answers + header.authorities;
    if (record.type === TYPE.SOA && inAuthority && record.dataBytes >= 22)
      negativeTtlSeconds = Math.min(ttl, bytes.readUInt32BE(record.end - 4));
  }
  return {
    ...{ id: header.id, flags: header.flags, rcode: header.flags & 15, question },
    ...{ answers: header.answers, ttlOffsets, minTtlSeconds, negativeTtlSeconds },
  };
}

/** The records of a response's answer section. As decodeResponse(), which it must have passed. */
export function decodeAnswers(bytes: Buffer): readonly RecordShape[] {
  const header = decodeHeader(bytes);
  let at = decodeQuestion(bytes, header.questions).end;
  return Array.from({ length: header.answers }, () => {
    const record = decodeRecord(bytes, at);
    at = record.end;
    return record;
  });
}

/**
 * The name at `start`, as DnsName.text has it. Its pointers are followed, each to before where it stands, so that no
 * loop can be built.
 *
 * @throws {MeshError} ERR_DNS_FORMAT
 */
export function decodeName(bytes: Buffer, start: number): string {
  const labels: string[] = [];
  let at = start;
  let lowest = start;
  let total = 0;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) throw formatError('a cut name');
    if (length >= 0xc0) {
      const target = at + 2 > bytes.length ? at : bytes.readUInt16BE(at) & 0x3fff;
      if (target >= lowest) throw formatError('a pointer that leads on');
      at = lowest = target;
      continue;
    }
    if (length > MAX_LABEL_BYTES) throw formatError('a wrong label');
    const next = at + 1 + length;
    total += 1 + length;
    if (next > bytes.length || total > MAX_NAME_BYTES) throw formatError('a cut or long name');
    if (length === 0) return labels.join('.');
    labels.push(labelText(bytes, at + 1, next));
    at = next;
  }
}

type Header = Readonly<{
  id: number;
  flags: number;
  questions: number;
  answers: number;
  authorities: number;
  additionals: number;
}>;

function decodeHeader(bytes: Buffer): Header {
  if (bytes.length < HEADER_BYTES) throw formatError(`${bytes.length} bytes`);
  const header = {
    ...{ id: bytes.readUInt16BE(0), flags: bytes.readUInt16BE(2) },
    ...{ questions: bytes.readUInt16BE(4), answers: bytes.readUInt16BE(6) },
    ...{ authorities: bytes.readUInt16BE(8), additionals: bytes.readUInt16BE(10) },
  };
  const records = header.answers + header.authorities + header.additionals;
  if (records > MAX_RECORDS) throw formatError(`${records} records`);
  return header;
}

function decodeQuestion(bytes: Buffer, count: number): { question: DnsQuestion; end: number } {
  if (count !== 1) throw formatError(`${count} questions`);
  const { name, end } = decodeQuestionName(bytes);
  if (end + 4 > bytes.length) throw formatError('a cut question');
  const type = bytes.readUInt16BE(end);
  return { question: { name, type, class: bytes.readUInt16BE(end + 2) }, end: end + 4 };
}

/** Nothing stands before the first name that it could point to, so a pointer in it is a loop or a trick. */
function decodeQuestionName(bytes: Buffer): { name: DnsName; end: number } {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) throw formatError('a cut name');
    if (length > MAX_LABEL_BYTES) throw formatError('a compressed or wrong label in the question');
    const next = at + 1 + length;
    if (next - HEADER_BYTES > MAX_NAME_BYTES) throw formatError('a name above 255 bytes');
    if (next > bytes.length) throw formatError('a cut name');
    if (length === 0) {
      const wire = Buffer.from(bytes.subarray(HEADER_BYTES, next));
      return { name: { text: labels.join('.'), wire }, end: next };
    }
    labels.push(labelText(bytes, at + 1, next));
    at = next;
  }
}

function labelText(bytes: Buffer, from: number, to: number): string {
  let text = '';
  for (let at = from; at < to; at++) {
    const byte = bytes[at] ?? 0;
    const plain = byte > 0x20 && byte < 0x7f && byte !== 0x2e && byte !== 0x5c;
    text += plain ? String.fromCharCode(byte).toLowerCase() : `\\${String(byte).padStart(3, '0')}`;
  }
  return text;
}

export type RecordShape = Readonly<{
  start: number;
  type: number;
  class: number;
  ttl: number;
  ttlOffset: number;
  dataBytes: number;
  /** Behind the data. */
  end: number;
}>;

function decodeRecord(bytes: Buffer, start: number): RecordShape {
  const fixed = skipName(bytes, start);
  if (fixed + 10 > bytes.length) throw formatError('a cut record');
  const dataBytes = bytes.readUInt16BE(fixed + 8);
  const end = fixed + 10 + dataBytes;
  if (end > bytes.length) throw formatError('a cut record');
  return {
    ...{ start, type: bytes.readUInt16BE(fixed), class: bytes.readUInt16BE(fixed + 2) },
    ...{ ttl: bytes.readUInt32BE(fixed + 4), ttlOffset: fixed + 4, dataBytes, end },
  };
}

/** A pointer ends a name (RFC 1035 section 4.1.4); since it is not followed, no loop can be built. */
function skipName(bytes: Buffer, start: number): number {
  let at = start;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) throw formatError('a cut name');
    if (length >= 0xc0) {
      if (at + 2 > bytes.length) throw formatError('a cut pointer');
      // A pointer leads back, to a name that was there before.
      if ((bytes.readUInt16BE(at) & 0x3fff) >= start) throw formatError('a pointer that leads on');
      return at + 2;
    }
    if (length > MAX_LABEL_BYTES) throw formatError('a wrong label');
    at += 1 + length;
    if (at - start > MAX_NAME_BYTES) throw formatError('a name above 255 bytes');
    if (length === 0) return at;
  }
}

function formatError(found: string): MeshError {
  return new MeshError('ERR_DNS_FORMAT', 'downstream', `Cannot decode DNS message: found ${found}`);
}
