import { MeshError } from '../../base/errors.ts';
import { type ByteSink, type ByteStream, HEADROOM, type SharedBytes } from '../byte-stream.ts';
import { Deadline } from '../deadline.ts';
import { CLIENT_PREFACE } from '../h2/frame.ts';
import type { Http1ServerConnection } from '../http1/server-connection.ts';
import type { Http1Parameters } from '../http1/options.ts';
import { LAST_REQUEST_MS } from '../http1/limits.ts';
import { allocateShared } from '../shared-bytes.ts';
import type { HttpServerConnection } from './exchange.ts';

export type DetectedServers = Readonly<{
  serveHttp1(stream: ByteStream): Http1ServerConnection;
  serveHttp2(stream: ByteStream): HttpServerConnection;
  /** The connection ended before it was known what it is. */
  onClose(error?: Error): void;
}>;

/** RFC 9110 section 9.3, and PATCH (RFC 5789). The space ends a method. */
const REQUESTS = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'DELETE',
  'CONNECT',
  'OPTIONS',
  'TRACE',
  'PATCH',
].map((method) => Buffer.from(`${method} `));

/**
 * A connection of either version, until its first bytes tell which: HTTP/2 when they are its preface, to the last byte
 * (RFC 9113 section 3.4). Others are HTTP/1.1 where that is as likely; where HTTP/2 is expected only if they are one of its
 * usual methods, and else they are a broken preface.
 */
export class DetectingServer implements HttpServerConnection, ByteSink {
  readonly #transport: ByteStream;
  readonly #servers: DetectedServers;
  #server: HttpServerConnection | undefined;
  readonly #expectsHttp2: boolean;
  /** What has come of a preface or a method, and its length. */
  readonly #begun = Buffer.alloc(CLIENT_PREFACE.length);
  #length = 0;
  #closed = false;
  /** It drains as soon as it is known what it is; what it says first is still served. */
  #draining = false;
  readonly #deadline: Deadline;
  readonly #headTimeoutMs: number;

  constructor(
    transport: ByteStream,
    expected: 'http2' | 'either',
    parameters: Http1Parameters,
    servers: DetectedServers,
  ) {
    this.#transport = transport;
    this.#expectsHttp2 = expected === 'http2';
    this.#servers = servers;
    this.#headTimeoutMs = parameters.headTimeoutMs;
    this.#deadline = new Deadline(parameters.clock, () => {
      this.#end(this.#length === 0 ? undefined : detectError('no whole preface in time'));
    });
    this.#deadline.set(parameters.idleTimeoutMs);
    transport.setSink(this);
  }

  drain(): void {
    this.#draining = true;
    if (this.#server !== undefined) this.#server.drain();
    else if (!this.#closed && this.#length === 0) this.#deadline.set(LAST_REQUEST_MS);
  }

  close(): void {
    if (this.#server !== undefined) this.#server.close();
    else this.#end(detectError('closed by this side'));
  }

  capacity(): number {
    return Number.MAX_SAFE_INTEGER;
  }

  onData(bytes: SharedBytes, offset: number, length: number): number {
    const before = this.#length;
    const more = Math.min(length, CLIENT_PREFACE.length - before);
    this.#length += bytes.buffer.copy(this.#begun, before, offset, offset + more);
    const version = this.#version(this.#begun.subarray(0, this.#length));
    if (version === undefined) {
      if (before === 0) this.#deadline.set(this.#headTimeoutMs);
      return length;
    }
    this.#deadline.stop();
    const sink = version === 'http2' ? this.#beginHttp2() : this.#beginHttp1();
    // Less than a head: all of it is taken.
    if (before > 0) sink?.onData(shared(this.#begun.subarray(0, before)), HEADROOM, before);
    const taken = sink?.onData(bytes, offset, length) ?? length;
    // Of HTTP/2 not sooner: a client that hears of the end before it has asked anything need not ask.
    if (this.#draining) this.#server?.drain();
    return taken;
  }

  onEnd(): void {
    if (this.#closed) return;
    this.#end(this.#length > 0 ? detectError('the peer ended amid its first bytes') : undefined);
  }

  onError(error: Error): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#deadline.stop();
    this.#servers.onClose(error);
  }

  onWritable(): void {
    // Nothing is written here.
  }

  /** Undefined while more bytes are needed to tell. */
  #version(begun: Buffer): 'http1' | 'http2' | undefined {
    if (isStartOf(begun, CLIENT_PREFACE))
      return begun.length === CLIENT_PREFACE.length ? 'http2' : undefined;
    if (!this.#expectsHttp2 || REQUESTS.some((request) => isStartOf(request, begun)))
      return 'http1';
    return REQUESTS.some((request) => isStartOf(begun, request)) ? undefined : 'http2';
  }

  #beginHttp1(): ByteSink {
    const server = this.#servers.serveHttp1(this.#transport);
    this.#server = server;
    if (this.#draining) server.drain();
    return server.sink;
  }

  /** The connection sets its own sink, which gets by our hand what has come already. */
  #beginHttp2(): ByteSink | undefined {
    const seen = new SinkWatch(this.#transport);
    this.#server = this.#servers.serveHttp2(seen);
    return seen.sink;
  }

  #end(error?: MeshError): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#deadline.stop();
    if (error === undefined) this.#transport.end();
    else this.#transport.reset();
    this.#servers.onClose(error);
  }
}

/** A transport as it is, of which one can see who takes its input. */
class SinkWatch implements ByteStream {
  readonly #transport: ByteStream;
  sink: ByteSink | undefined;

  constructor(transport: ByteStream) {
    this.#transport = transport;
  }

  get closed(): boolean {
    return this.#transport.closed;
  }

  get bytesRead(): number {
    return this.#transport.bytesRead;
  }

  get bytesWritten(): number {
    return this.#transport.bytesWritten;
  }

  setSink(sink: ByteSink): void {
    this.sink = sink;
    this.#transport.setSink(sink);
  }

  resume(): void {
    this.#transport.resume();
  }

  capacity(): number {
    return this.#transport.capacity();
  }

  write(bytes: SharedBytes, offset: number, length: number): number {
    return this.#transport.write(bytes, offset, length);
  }

  end(): void {
    this.#transport.end();
  }

  reset(): void {
    this.#transport.reset();
  }
}

function isStartOf(start: Buffer, whole: Buffer): boolean {
  return whole.subarray(0, start.length).equals(start);
}

function shared(begun: Buffer): SharedBytes {
  const copied = allocateShared(HEADROOM + begun.length);
  begun.copy(copied.buffer, HEADROOM);
  return copied;
}

function detectError(found: string): MeshError {
  const message = `Cannot tell the HTTP version of a connection: ${found}`;
  return new MeshError('ERR_HTTP_DETECT', 'downstream', message);
}
