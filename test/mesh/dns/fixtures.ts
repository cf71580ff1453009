/** Builds messages by hand, so that tests do not trust what they test. */
export function name(text: string): Buffer {
  const labels = text === '' ? [] : text.split('.');
  return Buffer.concat([
    ...labels.map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)])),
    Buffer.from([0]),
  ]);
}

export function header(id: number, flags: number, ...counts: readonly number[]): Buffer {
  const bytes = Buffer.alloc(12);
  [id, flags, ...counts].forEach((value, index) => bytes.writeUInt16BE(value, index * 2));
  return bytes;
}

export function u16(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2);
  values.forEach((value, index) => bytes.writeUInt16BE(value, index * 2));
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function record(owner: Buffer, type: number, ttl: number, data: Buffer): Buffer {
  return Buffer.concat([owner, u16(type, 1), u32(ttl), u16(data.length), data]);
}

export function query(host: string, type = 1, id = 0x1234): Buffer {
  return Buffer.concat([header(id, 0x0100, 1, 0, 0, 0), name(host), u16(type, 1)]);
}

/** OPT with a UDP size and no options. */
export function opt(udpBytes: number): Buffer {
  return Buffer.concat([Buffer.from([0]), u16(41, udpBytes), u32(0x8000), u16(0)]);
}

export const POINTER = u16(0xc00c);

/** The response to a query that was built here: its question, then records. */
export function response(
  asked: Buffer,
  answers: readonly Buffer[],
  { rcode = 0, flags = 0x8180, authorities = [] as readonly Buffer[] } = {},
): Buffer {
  let end = 12;
  while (asked[end] !== 0) end += (asked[end] ?? 0) + 1;
  const head = header(
    ...([asked.readUInt16BE(0), flags | rcode, 1, answers.length, authorities.length, 0] as const),
  );
  return Buffer.concat([head, asked.subarray(12, end + 5), ...answers, ...authorities]);
}
