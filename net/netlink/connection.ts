import { systemError } from '../native/errno.ts';
import { closeDescriptor, openSocket, readInto, SOCK_RAW, writeFrom } from '../native/libc.ts';
import { allocateShared, shareBuffer, type SharedBytes } from '../native/memory.ts';

const AF_NETLINK = 16;
/** Subsystems. linux/netlink.h. */
export const NETLINK_ROUTE = 0;
export const NETLINK_SOCK_DIAG = 4;

/** Flags of a request. */
export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
/** struct nlmsghdr: length, type, flags, sequence number, port. */
const HEADER_BYTES = 16;
/** The kernel fills at most 32 KiB a read. */
const ANSWER_BYTES = 64 << 10;

/**
 * A conversation with the kernel about the network namespace that the thread was in when it began; afterwards that matters
 * no more. The kernel answers within the call, so nothing waits.
 */
export class NetlinkConnection implements Disposable {
  readonly #fd: number;
  readonly #answer: SharedBytes;
  #sequence = 0;

  /** @throws {MeshError} the system's error. */
  constructor(subsystem: number) {
    const fd = openSocket(AF_NETLINK, SOCK_RAW, subsystem);
    if (fd < 0) throw systemError(-fd, 'open a netlink socket');
    this.#fd = fd;
    this.#answer = allocateShared(ANSWER_BYTES);
  }

  /**
   * Asks for a change, or for a list.
   *
   * @param what for the message of an error: `add a rule`.
   * @returns the messages of a list, without their headers; the caller reads them before it asks again.
   * @throws {MeshError} what the kernel says, such as ERR_SYSTEM_EEXIST.
   */
  request(type: number, flags: number, body: Buffer, what: string): Buffer[] {
    const sequence = ++this.#sequence;
    const message = shareBuffer(Buffer.alloc(HEADER_BYTES + body.length));
    const { buffer } = message;
    buffer.writeUInt32LE(buffer.length, 0);
    buffer.writeUInt16LE(type, 4);
    buffer.writeUInt16LE(NLM_F_REQUEST | flags, 6);
    buffer.writeUInt32LE(sequence, 8);
    buffer.set(body, HEADER_BYTES);
    const sent = writeFrom(this.#fd, message, 0, buffer.length);
    if (sent < 0) throw systemError(-sent, what);
    const listed: Buffer[] = [];
    while (!this.#read(listed, what));
    return listed;
  }

  [Symbol.dispose](): void {
    closeDescriptor(this.#fd);
  }

  /** @returns whether that was the end of the answer. */
  #read(listed: Buffer[], what: string): boolean {
    const length = readInto(this.#fd, this.#answer, 0, ANSWER_BYTES);
    if (length <= 0) throw systemError(-length, what);
    const { buffer } = this.#answer;
    for (let at = 0; at + HEADER_BYTES <= length; ) {
      const size = buffer.readUInt32LE(at);
      const type = buffer.readUInt16LE(at + 4);
      if (size < HEADER_BYTES || at + size > length)
        throw new Error(`Cannot ${what}: the kernel's answer is cut off`);
      if (type === NLMSG_DONE) return true;
      if (type === NLMSG_ERROR) {
        const errno = -buffer.readInt32LE(at + HEADER_BYTES);
        if (errno === 0) return true;
        throw systemError(errno, what);
      }
      listed.push(Buffer.from(buffer.subarray(at + HEADER_BYTES, at + size)));
      at += align(size);
    }
    return false;
  }
}

/** An attribute: its length, its type, a number of 32 bits. */
export function numberAttribute(type: number, value: number): Buffer {
  const attribute = Buffer.alloc(8);
  attribute.writeUInt16LE(attribute.length, 0);
  attribute.writeUInt16LE(type, 2);
  attribute.writeUInt32LE(value, 4);
  return attribute;
}

function align(length: number): number {
  return (length + 3) & ~3;
}
