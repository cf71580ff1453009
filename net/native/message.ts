import { MSGHDR_BYTES, receiveMessage, sendMessage } from './libc.ts';
import { allocateShared } from './memory.ts';

/** struct msghdr: u64 name | u32 namelen, pad | u64 iov | u64 iovlen | u64 control | u64 controllen | i32 flags, pad. */
const NAME = 0;
const NAME_LENGTH = 8;
const IOV = 16;
const IOV_COUNT = 24;
const CONTROL = 32;
const CONTROL_LENGTH = 40;
const FLAGS = 48;
/** struct cmsghdr: u64 len | i32 level | i32 type, then the payload; the next one is aligned to 8. */
const CMSGHDR_BYTES = 16;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** Room for more than the one descriptor that is allowed, so that what a hostile peer sends is seen and closed. */
const CONTROL_BYTES = 256;
const MSG_CTRUNC = 0x8;
const MSG_TRUNC = 0x20;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;
const SOCKADDR_BYTES = 28;

/**
 * One msghdr with everything it points to, kept alive together: sends and receives whole messages, with a descriptor
 * (unix) or an address (UDP) beside the bytes. One serves a whole thread, because each call is finished at once.
 */
export class MessageBuffer {
  readonly #header = allocateShared(MSGHDR_BYTES);
  readonly #vector = allocateShared(16);
  readonly #control = allocateShared(CONTROL_BYTES);
  readonly #data;
  /** The address to send to or received from: a sockaddr as sockaddr.ts reads and writes it. */
  readonly name = allocateShared(SOCKADDR_BYTES);
  readonly #maxBytes: number;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
    this.#data = allocateShared(maxBytes);
    const header = this.#header.buffer;
    header.writeBigUInt64LE(this.#vector.address, IOV);
    header.writeBigUInt64LE(1n, IOV_COUNT);
    this.#vector.buffer.writeBigUInt64LE(this.#data.address, 0);
  }

  /**
   * @param nameLength bytes of `name` that are the destination; 0 for a connected socket.
   * @returns bytes sent, or -errno.
   */
  send(fd: number, bytes: Uint8Array, descriptor?: number, nameLength = 0): number {
    if (bytes.length > this.#maxBytes) throw new RangeError(`Cannot send ${bytes.length} bytes`);
    this.#data.buffer.set(bytes, 0);
    this.#prepare(bytes.length, nameLength, descriptor === undefined ? 0 : 24);
    if (descriptor !== undefined) {
      const control = this.#control.buffer;
      control.writeBigUInt64LE(BigInt(CMSGHDR_BYTES + 4), 0);
      control.writeInt32LE(SOL_SOCKET, 8);
      control.writeInt32LE(SCM_RIGHTS, 12);
      control.writeInt32LE(descriptor, CMSGHDR_BYTES);
    }
    return sendMessage(fd, this.#header, MSG_NOSIGNAL);
  }

  /** @returns the length of the message, 0 at the end, or -errno. */
  receive(fd: number): number {
    this.#prepare(this.#maxBytes, SOCKADDR_BYTES, CONTROL_BYTES);
    this.#control.buffer.fill(0);
    const got = receiveMessage(fd, this.#header, MSG_CMSG_CLOEXEC);
    if (got < 0) this.#header.buffer.writeBigUInt64LE(0n, CONTROL_LENGTH);
    return got;
  }

  /** Whether the last message or its descriptors did not fit. */
  get truncated(): boolean {
    return (this.#header.buffer.readInt32LE(FLAGS) & (MSG_TRUNC | MSG_CTRUNC)) !== 0;
  }

  /** The last message; true until the next call. */
  message(length: number): Buffer {
    return this.#data.buffer.subarray(0, length);
  }

  /** The descriptors that came with the last message; the caller closes them. */
  descriptors(): number[] {
    const control = this.#control.buffer;
    const end = Number(this.#header.buffer.readBigUInt64LE(CONTROL_LENGTH));
    const found: number[] = [];
    for (let at = 0; at + CMSGHDR_BYTES <= end; ) {
      const length = Number(control.readBigUInt64LE(at));
      if (length < CMSGHDR_BYTES || at + length > end) break;
      const rights =
        control.readInt32LE(at + 8) === SOL_SOCKET && control.readInt32LE(at + 12) === SCM_RIGHTS;
      for (let slot = at + CMSGHDR_BYTES; rights && slot + 4 <= at + length; slot += 4)
        found.push(control.readInt32LE(slot));
      at += (length + 7) & ~7;
    }
    return found;
  }

  #prepare(length: number, nameLength: number, controlLength: number): void {
    const header = this.#header.buffer;
    this.#vector.buffer.writeBigUInt64LE(BigInt(length), 8);
    header.writeBigUInt64LE(nameLength === 0 ? 0n : this.name.address, NAME);
    header.writeUInt32LE(nameLength, NAME_LENGTH);
    header.writeBigUInt64LE(controlLength === 0 ? 0n : this.#control.address, CONTROL);
    header.writeBigUInt64LE(BigInt(controlLength), CONTROL_LENGTH);
    header.writeInt32LE(0, FLAGS);
  }
}
