import { once } from 'node:events';
import { Agent, type IncomingMessage, request as request1 } from 'node:http';
import {
  connect as connect2,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type IncomingHttpHeaders,
} from 'node:http2';
import { buffer } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, credentials } from '@grpc/grpc-js';
import type { LongEnd, RequestFailure, RequestLoadLine, RequestKind } from './load.ts';

/*
 * Runs in a pod: `load-program.ts HOST`. Asks an echo server (server-program.ts) in every way that clients do, and looks
 * at every byte of the answers. Prints a line of JSON a second, and at the end of its input the last one.
 */
const [host = ''] = process.argv.slice(2);
const HTTP1 = `http://${host}`;
const HTTP2 = `http://${host}:7070`;
/** Longer than anything here takes unless it is lost. */
const PATIENCE_MS = 10_000;
const BETWEEN_MS = 3;
/** Of those whose connection is idle for most of the time. */
const SELDOM_MS = 600;
/** Every so many requests one takes a while, so that some are under way whenever something ends. */
const SLOW_EVERY = 8;
const SLOW_MS = 300;
const SAY_EVERY_MS = 50;

const done: Record<RequestKind, number> = {
  ...{ fresh: 0, seldom: 0, http1: 0, http2: 0, unary: 0, stream: 0, websocket: 0 },
};
const failures: RequestFailure[] = [];
const longEnds: LongEnd[] = [];
const stop = new AbortController();
let made = 0;

type Ask = (path: string, body: Buffer, method: 'GET' | 'POST') => Promise<Buffer>;

/** One request after another, each with a body of its own, or none. */
async function askOn(kind: RequestKind, ask: Ask, betweenMs = BETWEEN_MS): Promise<void> {
  for (let count = 0; !stop.signal.aborted; count++) {
    const method = count % 2 === 0 ? 'POST' : 'GET';
    const body = Buffer.from(method === 'GET' ? '' : `${kind} request ${made++}`);
    const path = count % SLOW_EVERY === 0 ? `/echo.Echo/Say?delay=${SLOW_MS}` : '/echo.Echo/Say';
    try {
      const answer = await ask(path, body, method);
      if (!answer.equals(body))
        throw new Error(`sent ${body.toString()}, got ${answer.toString()}`);
      done[kind]++;
    } catch (error) {
      fail(kind, `${kind === 'unary' ? 'POST' : method} ${path}`, error);
    }
    await delay(betweenMs);
  }
}

function fail(kind: RequestKind, what: string, error: unknown): void {
  failures.push({ kind, atMs: Date.now(), what: `${what}: ${describe(error)}` });
}

function describe(error: unknown): string {
  const { message, code = '' } = error as Error & { code?: string | number };
  return `${message} ${code}`.trim();
}

/** Over one connection that is kept, or over a new one each time. */
function overHttp1(keepAlive: boolean): Ask {
  const agent = new Agent({ keepAlive, maxSockets: 1 });
  return async (path, body, method) => {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const asked = request1(`${HTTP1}${path}`, { agent, method, signal });
    asked.end(body);
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    const answer = await buffer(response);
    if (response.statusCode !== 200)
      throw new Error(`status ${response.statusCode}: ${answer.toString()}`);
    return answer;
  };
}

/** A session until it is told to go away; what is on it then is finished. */
class Sessions {
  #current: ClientHttp2Session | undefined;
  /** When each session was first told to go away. */
  readonly toldAtMs = new WeakMap<ClientHttp2Session, number>();

  get(): ClientHttp2Session {
    let session = this.#current;
    if (session !== undefined && !session.closed && !session.destroyed) return session;
    session = this.#current = connect2(HTTP2);
    const opened = session;
    opened.on('error', () => undefined); // its streams tell
    opened.on('goaway', () => {
      if (!this.toldAtMs.has(opened)) this.toldAtMs.set(opened, Date.now());
      if (this.#current === opened) this.#current = undefined;
    });
    return opened;
  }
}

/**
 * A request that the session took and did not send, because it heard of its end in between, is asked on the next one: the
 * peer has seen nothing of it. RFC 9113 section 8.7; libraries for HTTP/2 do the same.
 */
function overHttp2(sessions: Sessions): Ask {
  const ask = askHttp2(sessions);
  return async (path, body, method) => {
    try {
      return await ask(path, body, method);
    } catch (error) {
      if (!describe(error).includes('NGHTTP2_REFUSED_STREAM')) throw error;
      return await ask(path, body, method);
    }
  };
}

function askHttp2(sessions: Sessions): Ask {
  return async (path, body, method) => {
    const fields = { ':path': path, ':method': method };
    const stream = sessions.get().request(fields, { endStream: body.length === 0 });
    stream.setTimeout(PATIENCE_MS, () => {
      stream.destroy(new Error('no answer'));
    });
    if (body.length > 0) stream.end(body);
    const responded = responseTo(stream);
    responded.catch(() => undefined); // told by the body as well
    const answer = await buffer(stream);
    const headers = await responded;
    if (Number(headers[':status']) !== 200) throw new Error(`status ${Number(headers[':status'])}`);
    if (stream.rstCode !== 0) throw new Error(`reset with ${stream.rstCode}`);
    return answer;
  };
}

/** Rejects when there will be none: a stream may be closed without an error. */
function responseTo(stream: ClientHttp2Stream): Promise<IncomingHttpHeaders> {
  return new Promise((resolve, reject) => {
    stream.on('response', resolve);
    stream.on('error', reject);
    stream.on('close', () => {
      reject(new Error(`closed with ${stream.rstCode}`));
    });
  });
}

function overGrpc(): Ask {
  const client = new Client(`${host}:7070`, credentials.createInsecure());
  const same = (bytes: Buffer): Buffer => bytes;
  return (path, body) =>
    new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + PATIENCE_MS };
      client.makeUnaryRequest(path, same, same, body, options, (error, answer) => {
        if (error === null && answer !== undefined) resolve(answer);
        else reject(error ?? new Error('no answer'));
      });
    });
}

/** Something that goes on until the other side ends it, and then anew. */
async function holdOn(
  kind: 'stream' | 'websocket',
  open: () => Promise<Held>,
  index: number,
): Promise<void> {
  while (!stop.signal.aborted) {
    const openedAtMs = Date.now();
    let held: Held;
    try {
      held = await open();
    } catch (error) {
      fail(kind, 'opening', error);
      continue;
    }
    const how = await talkOn(kind, held, index);
    const ended = { kind, openedAtMs, toldAtMs: held.toldAtMs(), endedAtMs: Date.now() };
    if (how !== undefined) longEnds.push({ ...ended, how });
  }
}

/** @returns how the other side ended it. */
async function talkOn(
  kind: 'stream' | 'websocket',
  held: Held,
  index: number,
): Promise<string | undefined> {
  try {
    for (let round = 0; !stop.signal.aborted; round++) {
      await held.say(`${kind} ${index} round ${round}`);
      done[kind]++;
      await delay(SAY_EVERY_MS);
    }
  } catch (error) {
    return describe(error);
  }
  held.close();
  return undefined;
}

type Held = Readonly<{
  /** Says something and waits until it comes back. Rejects when this cannot be, because it has ended. */
  say(text: string): Promise<void>;
  close(): void;
  toldAtMs(): number | undefined;
}>;

/** A bidirectional gRPC stream on a session of its own. */
async function openStream(): Promise<Held> {
  const sessions = new Sessions();
  const session = sessions.get();
  const stream = session.request({
    ...{ ':path': '/echo.Echo/Chat', ':method': 'POST', te: 'trailers' },
    'content-type': 'application/grpc',
  });
  await responseTo(stream);
  const received = new Received();
  stream.on('data', (chunk: Buffer) => {
    received.take(chunk);
  });
  stream.on('trailers', (trailers) => {
    received.end(`ended with status ${String(trailers['grpc-status'])}`);
  });
  stream.on('error', (error) => {
    received.end(describe(error));
  });
  stream.on('close', () => {
    received.end(`closed with ${stream.rstCode}`);
  });
  return {
    say: (text) => {
      const message = framed(text);
      stream.write(message);
      return received.expect(message);
    },
    close: () => {
      closeStream(session, stream);
    },
    toldAtMs: () => sessions.toldAtMs.get(session),
  };
}

function closeStream(session: ClientHttp2Session, stream: ClientHttp2Stream): void {
  stream.end();
  session.close();
}

/** A message as gRPC frames it: not compressed, with its length. */
function framed(text: string): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(Buffer.byteLength(text), 1);
  return Buffer.concat([head, Buffer.from(text)]);
}

/** What has come and was not expected yet, and why no more will. */
class Received {
  #bytes = Buffer.alloc(0);
  #ended: string | undefined;
  #wake: () => void = () => undefined;

  take(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    this.#wake();
  }

  end(how: string): void {
    this.#ended ??= how;
    this.#wake();
  }

  async expect(bytes: Buffer): Promise<void> {
    const untilMs = Date.now() + PATIENCE_MS;
    while (this.#bytes.length < bytes.length) {
      if (this.#ended !== undefined) throw new Error(this.#ended);
      if (Date.now() > untilMs) throw new Error('silent');
      const waits = new AbortController();
      const woken = new Promise<void>((resolve) => (this.#wake = resolve));
      await Promise.race([woken, delay(PATIENCE_MS, undefined, waits)]);
      waits.abort();
    }
    const came = this.#bytes.subarray(0, bytes.length);
    this.#bytes = this.#bytes.subarray(bytes.length);
    if (!came.equals(bytes)) throw new Error(`wrong bytes: ${came.toString()}`);
  }
}

async function openWebSocket(): Promise<Held> {
  const socket = new WebSocket(`ws://${host}/`);
  socket.binaryType = 'arraybuffer';
  const received = new Received();
  socket.onmessage = ({ data }) => {
    received.take(Buffer.from(data as ArrayBuffer));
  };
  socket.onclose = ({ code }) => {
    received.end(`closed with ${code}`);
  };
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => {
      resolve();
    };
    socket.onerror = () => {
      reject(new Error('WebSocket failed'));
    };
  });
  return {
    say: (text) => {
      const bytes = Buffer.from(text);
      socket.send(bytes);
      return received.expect(bytes);
    },
    close: () => {
      socket.close();
    },
    toldAtMs: () => undefined,
  };
}

function report(): void {
  const line: RequestLoadLine = { done, failures, longEnds };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

process.stdin.resume().on('end', () => {
  stop.abort();
});
const shared = new Sessions();
const work = [
  ...Array.from({ length: 4 }, () => askOn('http1', overHttp1(true))),
  ...Array.from({ length: 4 }, () => askOn('http2', overHttp2(shared))),
  ...Array.from({ length: 2 }, () => askOn('unary', overGrpc())),
  ...Array.from({ length: 3 }, () => askOn('seldom', overHttp1(true), SELDOM_MS)),
  askOn('fresh', overHttp1(false)),
  ...Array.from({ length: 4 }, (_, index) => holdOn('stream', openStream, index)),
  ...Array.from({ length: 4 }, (_, index) => holdOn('websocket', openWebSocket, index)),
];
const telling = setInterval(report, 1000);
await Promise.all(work);
clearInterval(telling);
report();
process.exit(0);
