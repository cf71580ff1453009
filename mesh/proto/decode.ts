import { BinaryReader } from '@bufbuild/protobuf/wire';
import { MeshError, type Side } from '../../base/errors.ts';

/** What the generated code offers for a message. */
export type MessageDecoder<T> = Readonly<{ decode(input: BinaryReader): T }>;

/**
 * Reads one whole message from outside. Unknown fields are skipped, so a newer peer is understood; anything that is not
 * a message to its last byte is refused (the generated code alone stops quietly at a zero tag).
 *
 * @param what names the message in the error.
 * @param side whose bytes they are.
 * @throws {MeshError} ERR_PROTO
 */
export function decodeMessage<T>(
  type: MessageDecoder<T>,
  bytes: Uint8Array,
  what: string,
  side: Side,
): T {
  const reader = new BinaryReader(bytes);
  let message: T;
  try {
    message = type.decode(reader);
  } catch (cause) {
    throw new MeshError('ERR_PROTO', side, `Cannot decode ${what} of ${bytes.length} bytes`, {
      cause,
    });
  }
  if (reader.pos !== reader.len) {
    const found = `it ends at byte ${reader.pos} of ${reader.len}`;
    throw new MeshError('ERR_PROTO', side, `Cannot decode ${what}: ${found}`);
  }
  return message;
}
