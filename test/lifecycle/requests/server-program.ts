import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import {
  createServer as createServer2,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

/*
 * Runs in a pod: sends back what it is sent, after `?delay=` milliseconds.
 *   8080   HTTP/1.1, and WebSockets whose frames come one by one
 *   7070   HTTP/2 without TLS, and gRPC: messages are not read, so any method echoes
 * Told to end, it ends in order: what has begun is finished, and each session is told to go elsewhere.
 */
const POD = process.env['POD_NAME'] ?? '';
/** RFC 6455 section 1.3. */
const WEBSOCKET_GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

async function pauseFor(path: string | undefined): Promise<void> {
  const ms = Number(new URL(path ?? '/', 'http://server').searchParams.get('delay'));
  if (ms > 0) await delay(ms);
}

const http1 = createServer((request, response) => {
  void pauseFor(request.url).then(() => {
    response.setHeader('x-pod', POD);
    request.pipe(response);
  });
});
http1.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
  const key = request.headers['sec-websocket-key'] ?? '';
  const accept = createHash('sha1').update(`${key}${WEBSOCKET_GUID}`).digest('base64');
  socket.on('error', () => undefined); // the client has gone
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  socket.on('data', (frame: Buffer) => {
    socket.write(unmask(frame));
  });
  socket.on('end', () => socket.end());
});

/** A client's frame of less than 126 bytes as the server's. RFC 6455 section 5.2. */
function unmask(frame: Buffer): Buffer {
  const length = (frame[1] ?? 0) & 0x7f;
  const payload = Buffer.from(frame.subarray(6, 6 + length));
  for (const index of payload.keys())
    payload[index] = (payload[index] ?? 0) ^ (frame[2 + (index % 4)] ?? 0);
  return Buffer.concat([Buffer.from([frame[0] ?? 0, length]), payload]);
}

const sessions = new Set<ServerHttp2Session>();
const http2 = createServer2();
http2.on('session', (session) => {
  sessions.add(session);
  session.on('close', () => sessions.delete(session));
});
http2.on('stream', (stream: ServerHttp2Stream, headers) => {
  stream.on('error', () => undefined); // the client has gone
  const isGrpc = headers['content-type']?.startsWith('application/grpc') === true;
  void pauseFor(headers[':path']).then(() => {
    if (stream.destroyed) return;
    const contentType = isGrpc ? 'application/grpc' : 'application/octet-stream';
    stream.respond(
      { ':status': 200, 'content-type': contentType, 'x-pod': POD },
      { waitForTrailers: isGrpc },
    );
    if (isGrpc)
      stream.on('wantTrailers', () => {
        stream.sendTrailers({ 'grpc-status': '0' });
      });
    stream.pipe(stream);
  });
});

http1.listen(8080);
http2.listen(7070);
process.once('SIGTERM', () => {
  http1.close();
  http2.close();
  for (const session of sessions) session.close();
});
