import { writeSync } from 'node:fs';
import { EAGAIN, systemError } from '../../net/native/errno.ts';
import { AF_PACKET, openSocket, readInto, SOCK_RAW } from '../../net/native/libc.ts';
import { allocateShared } from '../../net/native/memory.ts';
import { READABLE, watch } from '../../net/reactor.ts';

/*
 * Runs in the sandbox's outermost network namespace, whose interfaces are the bridge and its ports, and prints every
 * frame on them: four bytes of length in network order, then the frame. An empty frame comes first, once it listens.
 * A frame that crosses the bridge is seen where it comes in and where it goes out.
 */

/** ETH_P_ALL in network order, linux/if_ether.h: frames of any protocol, before the bridge takes them. */
const ETH_P_ALL = 0x0300;
/** Segments of one send may travel as one frame between namespaces; this is the largest. */
const MAX_FRAME_BYTES = 65_536 + 14;

const fd = openSocket(AF_PACKET, SOCK_RAW, ETH_P_ALL);
if (fd < 0) throw systemError(-fd, 'open a packet socket');
const bytes = allocateShared(MAX_FRAME_BYTES);
const length = Buffer.alloc(4);

function printFrame(frame: Uint8Array): void {
  length.writeUInt32BE(frame.length);
  writeWhole(length);
  writeWhole(frame);
}

function writeWhole(chunk: Uint8Array): void {
  for (let at = 0; at < chunk.length; ) at += writeSync(1, chunk, at);
}

watch(fd, READABLE, {
  onEvent() {
    for (;;) {
      const got = readInto(fd, bytes, 0, MAX_FRAME_BYTES);
      if (got === -EAGAIN) return;
      if (got < 0) throw systemError(-got, 'read a frame');
      printFrame(bytes.buffer.subarray(0, got));
    }
  },
});
printFrame(Buffer.alloc(0));
