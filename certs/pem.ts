import { MAX_DER_BYTES } from '../base/der.ts';
import { MeshError } from '../base/errors.ts';

export type PemLabel = 'CERTIFICATE' | 'CERTIFICATE REQUEST' | 'PRIVATE KEY';

/** Base64 of MAX_DER_BYTES with its line ends, and the lines around it. */
const MAX_PEM_BYTES = Math.ceil((MAX_DER_BYTES * 4) / 3 / 64) * 66 + 128;

const BASE64_LINE = /^[A-Za-z0-9+/]{1,76}={0,2}$/;

/** 64 characters a line, as RFC 7468 section 2 has it, with a line end behind the last. */
export function formatPem(label: PemLabel, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.length).toString('base64');
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/**
 * The blocks of a text, in order, as DER. Every block has that label, and only blank lines may stand between them.
 *
 * @param maxBlocks more are refused.
 * @param options.explanations other text between the blocks is skipped, as in files that people and tools make
 *   (RFC 7468 section 2).
 * @throws {MeshError} ERR_PEM, also for a text without a block.
 */
export function parsePem(
  text: string,
  label: PemLabel,
  maxBlocks: number,
  options: Readonly<{ explanations?: boolean }> = {},
): Buffer[] {
  const refuse = (found: string): MeshError =>
    new MeshError('ERR_PEM', 'local', `Cannot read PEM of ${label}: found ${found}`);
  if (text.length > MAX_PEM_BYTES * maxBlocks) throw refuse(`${text.length} characters`);
  const blocks: Buffer[] = [];
  let base64: string[] | undefined;
  for (const line of text.split('\n').map((raw) => raw.trimEnd())) {
    if (base64 === undefined) {
      const explains = options.explanations === true && !line.startsWith('-----');
      if (line === '' || explains) continue;
      if (line !== `-----BEGIN ${label}-----`) throw refuse('something else before a block');
      if (blocks.length === maxBlocks) throw refuse(`more than ${maxBlocks} blocks`);
      base64 = [];
    } else if (line === `-----END ${label}-----`) {
      blocks.push(decodeBase64(base64, refuse));
      base64 = undefined;
    } else {
      if (!BASE64_LINE.test(line)) throw refuse('a line that is not base64');
      base64.push(line);
    }
  }
  if (base64 !== undefined) throw refuse('no END line');
  if (blocks.length === 0) throw refuse('no block');
  return blocks;
}

function decodeBase64(lines: readonly string[], refuse: (found: string) => MeshError): Buffer {
  const text = lines.join('');
  const bytes = Buffer.from(text, 'base64');
  // Buffer skips what it does not understand, so what it read must be all there was.
  if (bytes.length === 0 || bytes.toString('base64') !== text) throw refuse('base64 with a flaw');
  return bytes;
}

/** As parsePem() for certificates of a file or a CA's answer: one PEM text each, in the layout of formatPem(). */
export function splitCertificates(text: string, maxBlocks: number): string[] {
  return parsePem(text, 'CERTIFICATE', maxBlocks, { explanations: true }).map((der) =>
    formatPem('CERTIFICATE', der),
  );
}
