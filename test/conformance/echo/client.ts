import {
  Agent,
  request as requestHttp,
  type IncomingMessage,
  type RequestOptions,
} from 'node:http';
import { Agent as SecureAgent, request as requestHttps } from 'node:https';
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { once } from 'node:events';
import type { Echo, EchoAnswer, EchoRequest, Fields } from './messages.ts';

/** As the upstream suite waits for a request. */
const REQUEST_TIMEOUT_MS = 10_000;
/** When a datagram that was not answered is taken for lost. */
const LOST_AFTER_MS = 1500;
/** Connections for a request that is made often. */
const KEPT_CONNECTIONS = 4;

type Send = () => Promise<EchoAnswer>;

/** Makes all requests, one after the other, and those of a `count` a few at a time. */
export async function sendAll(requests: readonly EchoRequest[]): Promise<EchoAnswer[][]> {
  const answers: EchoAnswer[][] = [];
  for (const request of requests) answers.push(await sendOften(request));
  return answers;
}

async function sendOften(request: EchoRequest): Promise<EchoAnswer[]> {
  const { count = 1 } = request;
  const { send, close } = await open(request);
  const answers: EchoAnswer[] = [];
  let left = count;
  const worker = async (): Promise<void> => {
    while (left-- > 0)
      answers.push(
        await send().catch((error: unknown) => ({ status: 0, headers: [], text: String(error) })),
      );
  };
  await Promise.all(Array.from({ length: Math.min(count, KEPT_CONNECTIONS) }, worker));
  close();
  return answers;
}

async function open(request: EchoRequest): Promise<Readonly<{ send: Send; close: () => void }>> {
  const url = new URL(request.url);
  if (url.protocol === 'grpc:') {
    const { openGrpc } = await import('./grpc-client.ts'); // it takes longer to load than all else
    return openGrpc(url, request.headers ?? [], REQUEST_TIMEOUT_MS);
  }
  if (url.protocol === 'tcp:') return { send: () => sendTcp(url), close: () => undefined };
  if (url.protocol === 'udp:') return { send: () => sendUdp(url), close: () => undefined };
  if (url.protocol === 'ws:') return { send: () => sendWebSocket(url), close: () => undefined };
  const options = { keepAlive: (request.count ?? 1) > 1, maxSockets: KEPT_CONNECTIONS };
  const secure = url.protocol === 'https:';
  const agent = secure ? new SecureAgent(options) : new Agent(options);
  return {
    send: () => sendHttp(url, request, { agent }),
    close: () => {
      agent.destroy();
    },
  };
}

async function sendHttp(
  url: URL,
  { method = 'GET', headers = [] }: EchoRequest,
  options: RequestOptions,
): Promise<EchoAnswer> {
  const hasHost = headers.some(([name]) => name.toLowerCase() === 'host');
  const fields: Fields = hasHost ? headers : [['host', url.host], ...headers];
  const send = url.protocol === 'https:' ? requestHttps : requestHttp;
  const beganMs = performance.now();
  const request = send(url, {
    ...{ ...options, method, headers: fields.flat() },
    signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
  });
  request.end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  const body = (await buffer(response)).toString();
  const answer = {
    tookMs: performance.now() - beganMs,
    status: response.statusCode ?? 0,
    headers: response.rawHeaders.flatMap(
      (name, index): Fields =>
        index % 2 === 0 ? [[name, response.rawHeaders[index + 1] ?? '']] : [],
    ),
  };
  const echoed = response.headers['content-type'] === 'application/json';
  return echoed ? { ...answer, echo: JSON.parse(body) as Echo } : { ...answer, text: body };
}

/** One datagram, from a socket of its own; what is lost is not waited for as long as for other answers. */
async function sendUdp(url: URL): Promise<EchoAnswer> {
  const socket = createSocket('udp4');
  try {
    socket.send('hello', Number(url.port), url.hostname);
    const signal = AbortSignal.timeout(LOST_AFTER_MS);
    const [bytes] = (await once(socket, 'message', { signal })) as [Buffer];
    return { status: 200, headers: [], echo: JSON.parse(bytes.toString()) as Echo };
  } finally {
    socket.close();
  }
}

/** One message, and what comes back. */
async function sendWebSocket(url: URL): Promise<EchoAnswer> {
  const socket = new WebSocket(url);
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const late = setTimeout(() => {
    reject(new Error('timed out'));
  }, REQUEST_TIMEOUT_MS);
  socket.onopen = () => {
    socket.send('hello over a socket');
  };
  socket.onmessage = ({ data }) => {
    resolve(String(data));
  };
  socket.onclose = () => {
    reject(new Error('it was closed'));
  };
  try {
    return { status: 101, headers: [], text: await promise };
  } finally {
    clearTimeout(late);
    socket.close();
  }
}

async function sendTcp(url: URL): Promise<EchoAnswer> {
  const socket = connect(Number(url.port), url.hostname);
  socket.setTimeout(REQUEST_TIMEOUT_MS, () => {
    socket.destroy(new Error('timed out'));
  });
  socket.write('hello\n');
  return { status: 200, headers: [], echo: JSON.parse(await text(socket)) as Echo };
}
