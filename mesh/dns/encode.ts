import { ipToBytes, type IpAddress } from '../../base/address.ts';
import {
  CLASS_IN,
  FLAG,
  HEADER_BYTES,
  MAX_UDP_BYTES,
  MIN_UDP_BYTES,
  TYPE,
  type DnsQuery,
} from './message.ts';

/** A record of ours: an address, or another name. `owner` is the asked name unless it is given. */
export type AnswerRecord = Readonly<
  | { kind: 'address'; owner?: string; ip: IpAddress }
  | { kind: 'cname'; owner?: string; target: string }
>;

export type Answer = Readonly<{
  rcode: number;
  authoritative?: boolean;
  ttlSeconds?: number;
  records?: readonly AnswerRecord[];
}>;

/** RFC 1035 section 4.1.4: a pointer to the question's name, which stands behind the header. */
const QUESTION_POINTER = Buffer.from([0xc0, HEADER_BYTES]);
const OPT_BYTES = 11;
const FLAGS_ECHOED = FLAG.recursionDesired | FLAG.checkingDisabled;
const OPCODE_MASK = 0x7800;
const MAX_MESSAGE_BYTES = 65_535;

/** How long an answer to `query` may be: what the client says it takes over UDP, within 512 and 1,232 bytes. */
export function answerLimitBytes(query: DnsQuery, transport: 'udp' | 'tcp'): number {
  if (transport === 'tcp') return MAX_MESSAGE_BYTES;
  const asked = query.edns?.udpBytes ?? MIN_UDP_BYTES;
  return Math.min(MAX_UDP_BYTES, Math.max(MIN_UDP_BYTES, asked));
}

/** Encodes an answer; records that do not fit are left out, and it says so by its TC flag. */
export function encodeAnswer(query: DnsQuery, answer: Answer, limitBytes: number): Buffer {
  const { question, edns } = query;
  const { rcode, authoritative = false, ttlSeconds = 0, records = [] } = answer;
  const parts = [encodeQuestion(question.name.wire, question.type, question.class)];
  let total = HEADER_BYTES + (parts[0]?.length ?? 0) + (edns === undefined ? 0 : OPT_BYTES);
  let answers = 0;
  for (const record of records) {
    const bytes = encodeRecord(record, ttlSeconds);
    if (total + bytes.length > limitBytes) break;
    parts.push(bytes);
    total += bytes.length;
    answers++;
  }
  if (edns !== undefined) parts.push(encodeOpt(edns.dnssecOk));
  const flags =
    FLAG.response |
    FLAG.recursionAvailable |
    (query.flags & (FLAGS_ECHOED | OPCODE_MASK)) |
    (authoritative ? FLAG.authoritative : 0) |
    (answers < records.length ? FLAG.truncated : 0) |
    (rcode & 15);
  return Buffer.concat([encodeHeader(query.id, flags, 1, answers, edns ? 1 : 0), ...parts], total);
}

/** An error for a message that was not understood: nothing but a header, with its id. */
export function encodeBareError(message: Buffer, rcode: number): Buffer {
  const opcode = message.readUInt16BE(2) & OPCODE_MASK;
  return encodeHeader(message.readUInt16BE(0), FLAG.response | opcode | rcode, 0, 0, 0);
}

/** The query that goes to a resolver: the same question under an id of ours, without the client's options. */
export function encodeUpstreamQuery(query: DnsQuery, id: number): Buffer {
  const { question, edns } = query;
  const flags = query.flags & FLAGS_ECHOED;
  const asked = encodeQuestion(question.name.wire, question.type, question.class);
  const opt = edns === undefined ? Buffer.alloc(0) : encodeOpt(edns.dnssecOk);
  return Buffer.concat([encodeHeader(id, flags, 1, 0, edns ? 1 : 0), asked, opt]);
}

/** RFC 1035 section 4.2.2: over TCP a message has its length in front. */
export function frameMessage(message: Buffer): Buffer {
  const framed = Buffer.alloc(2 + message.length);
  framed.writeUInt16BE(message.length, 0);
  message.copy(framed, 2);
  return framed;
}

function encodeHeader(
  id: number,
  flags: number,
  questions: number,
  answers: number,
  additionals: number,
): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  [id, flags, questions, answers, 0, additionals].forEach((value, index) => {
    header.writeUInt16BE(value, index * 2);
  });
  return header;
}

function encodeQuestion(wire: Buffer, type: number, dnsClass: number): Buffer {
  const tail = Buffer.alloc(4);
  tail.writeUInt16BE(type, 0);
  tail.writeUInt16BE(dnsClass, 2);
  return Buffer.concat([wire, tail]);
}

function encodeRecord(record: AnswerRecord, ttlSeconds: number): Buffer {
  const owner = record.owner === undefined ? QUESTION_POINTER : encodeName(record.owner);
  const data = record.kind === 'address' ? ipToBytes(record.ip) : encodeName(record.target);
  const type = record.kind === 'cname' ? TYPE.CNAME : data.length === 4 ? TYPE.A : TYPE.AAAA;
  const fixed = Buffer.alloc(10);
  fixed.writeUInt16BE(type, 0);
  fixed.writeUInt16BE(CLASS_IN, 2);
  fixed.writeUInt32BE(ttlSeconds, 4);
  fixed.writeUInt16BE(data.length, 8);
  return Buffer.concat([owner, fixed, data]);
}

/** RFC 6891 section 6.1.2: the root's name, what we take, no options; only DO is given back. */
function encodeOpt(dnssecOk: boolean): Buffer {
  const opt = Buffer.alloc(OPT_BYTES);
  opt.writeUInt16BE(TYPE.OPT, 1);
  opt.writeUInt16BE(MAX_UDP_BYTES, 3);
  opt.writeUInt16BE(dnssecOk ? 0x8000 : 0, 7);
  return opt;
}

/** A name of plain characters, as DnsName.text has it when it comes from a part of an asked name. */
export function encodeName(text: string): Buffer {
  const labels = text === '' ? [] : text.split('.');
  return Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
    Buffer.from([0]),
  ]);
}
