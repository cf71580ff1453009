import { MeshError } from '../../base/errors.ts';

/**
 * What an exec connection carries after its upgrade: one byte of channel, four bytes of length in network order,
 * then the payload. An empty stdin frame is the end of the input; the exit frame is the last one. A client that closes
 * its side has gone: the program gets the end of its input, and a moment later it is ended.
 */
export type ExecChannel = 'stdin' | 'stdout' | 'stderr' | 'exit';

/** Payload of the exit channel, as JSON. `code` is 128 + signal where one ended it, as a shell has it. */
export type ExecExit = Readonly<{ code: number; signal?: string; error?: string }>;

export type ExecFrame = Readonly<{ channel: ExecChannel; payload: Buffer }>;

const CHANNELS: readonly ExecChannel[] = ['stdin', 'stdout', 'stderr', 'exit'];
const HEADER_BYTES = 5;
/** Pipes deliver 64 KiB at most; more is no frame of ours. */
const MAX_EXEC_PAYLOAD_BYTES = 1 << 20;

export function encodeExecFrame(channel: ExecChannel, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  frame[0] = CHANNELS.indexOf(channel);
  frame.writeUInt32BE(payload.length, 1);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** Cuts a byte stream into frames. */
export class ExecFrameDecoder {
  #rest = Buffer.alloc(0);

  /**
   * The frames that are whole with this chunk; what is left waits for the next.
   *
   * @throws {MeshError} ERR_EXEC_FRAME for an unknown channel or a length above MAX_EXEC_PAYLOAD_BYTES.
   */
  push(chunk: Uint8Array): ExecFrame[] {
    let bytes = this.#rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#rest, chunk]);
    const frames: ExecFrame[] = [];
    while (bytes.length >= HEADER_BYTES) {
      const channel = CHANNELS[bytes.readUInt8(0)];
      const length = bytes.readUInt32BE(1);
      if (channel === undefined || length > MAX_EXEC_PAYLOAD_BYTES) {
        const found = `channel ${bytes.readUInt8(0)}, ${length} bytes`;
        throw new MeshError('ERR_EXEC_FRAME', 'local', `Cannot read an exec frame: found ${found}`);
      }
      if (bytes.length < HEADER_BYTES + length) break;
      frames.push({ channel, payload: bytes.subarray(HEADER_BYTES, HEADER_BYTES + length) });
      bytes = bytes.subarray(HEADER_BYTES + length);
    }
    this.#rest = bytes;
    return frames;
  }
}
