import { readFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect as connectHttp2, constants, type ClientHttp2Session } from 'node:http2';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import type { TunnelAnswer, TunnelCertificate, TunnelReport, TunnelTask } from './tunnel-task.ts';

/*
 * Speaks HBONE to a proxy by Node's own TLS and HTTP/2, as an attacker would: tunnel-program.ts TASK
 * TASK is a file with a TunnelTask; prints a TunnelReport.
 */

const HANDSHAKE_TIMEOUT_MS = 12_000;
const ANSWER_TIMEOUT_MS = 12_000;

const task = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as TunnelTask;

function certificateOptions(certificate: TunnelCertificate | undefined): object {
  if (certificate === undefined) return {};
  return { key: certificate.privateKeyPem, cert: certificate.chainPem.join('') };
}

async function run(): Promise<TunnelReport> {
  const socket = connectTls({
    ...{ host: task.host, port: task.port, ALPNProtocols: ['h2'], minVersion: 'TLSv1.3' },
    ...certificateOptions(task.certificate),
    rejectUnauthorized: false, // the server's certificate is not what is tried here
  });
  socket.on('error', () => undefined);
  try {
    const signal = AbortSignal.timeout(HANDSHAKE_TIMEOUT_MS);
    await once(socket, 'secureConnect', { signal });
    const serial = socket.getPeerCertificate().serialNumber.toLowerCase();
    const session = await openSession(socket, signal);
    const answers: TunnelAnswer[] = [];
    for (const request of task.requests) answers.push(await ask(session, request));
    session.destroy();
    return { session: 'open', serial, answers };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { session: code ?? message, serial: '', answers: [] };
  } finally {
    socket.destroy();
  }
}

/** TLS 1.3 lets a client speak before its certificate has been judged: the server's settings say that it was accepted. */
async function openSession(socket: TLSSocket, signal: AbortSignal): Promise<ClientHttp2Session> {
  const session = connectHttp2('https://peer', { createConnection: () => socket });
  const closed = once(socket, 'close', { signal }).then(() => {
    throw new Error('closed');
  });
  await Promise.race([once(session, 'remoteSettings', { signal }), closed]);
  closed.catch(() => undefined); // its end in order
  session.on('error', () => undefined);
  return session;
}

/** One request; with 200 and a text, the text is sent and what comes back is the answer's. */
async function ask(
  session: ClientHttp2Session,
  { method = 'CONNECT', authority, text }: TunnelTask['requests'][number],
): Promise<TunnelAnswer> {
  const path = method === 'CONNECT' ? {} : { ':scheme': 'http', ':path': '/' };
  const headers = { ':method': method, ':authority': authority, ...path };
  const stream = session.request(headers, { endStream: false });
  const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS);
  try {
    const [answer] = (await once(stream, 'response', { signal })) as [Record<string, unknown>];
    const status = Number(answer[':status']);
    if (status !== 200 || text === undefined) return { status, text: '' };
    stream.end(text);
    const chunks: Buffer[] = [];
    for await (const chunk of stream) chunks.push(chunk as Buffer);
    return { status, text: Buffer.concat(chunks).toString() };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { status: 0, text: code ?? message };
  } finally {
    stream.on('error', () => undefined);
    if (!stream.destroyed) stream.close(constants.NGHTTP2_CANCEL);
  }
}

console.log(JSON.stringify(await run()));
process.exit(0);
