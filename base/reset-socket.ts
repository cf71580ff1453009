import type { Socket } from 'node:net';

/**
 * Ends a TCP connection with a reset, so that nobody takes what has come of it for all there was.
 *
 * `socket.resetAndDestroy()` alone fails while the socket's end (FIN) is being sent: libuv refuses (EINVAL), and Node
 * (26.10) takes the handle for closed all the same. The connection then stays open, and the process can no longer end:
 * its clean-up spins. That end takes one turn of the loop, which is awaited here.
 */
export function resetSocket(socket: Socket): void {
  const endIsBeingSent =
    socket.writableEnded && socket.writableLength === 0 && !socket.writableFinished;
  if (endIsBeingSent && !socket.destroyed)
    socket.once('finish', () => {
      socket.resetAndDestroy();
    });
  else socket.resetAndDestroy();
}
