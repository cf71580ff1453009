import { createServer as createHttpServer, type Server as HttpServer } from 'node:http';
import { createServer, Socket, type Server } from 'node:net';
import { resetSocket } from '../../base/reset-socket.ts';
import { HttpServerStream } from './http-stream.ts';
import { ExpectedBytes, LineReader, type Tag } from './tagged-bytes.ts';
import { textOf } from './peer-socket.ts';

const MAX_WRITE_BYTES = 64 << 10;

/** What a server of tagged connections has seen since it was asked last. */
export type ServerReport = {
  complete: number;
  /** Ended with an error, as they should where something broke. */
  broken: number;
  /** Sentences about what must never be. */
  wrong: string[];
};

/** Answers tagged connections with bytes of its own, and checks all that it gets. */
export class TaggedServer {
  readonly #name: string;
  readonly #refused: ReadonlySet<string>;
  readonly #callers: ReadonlySet<string>;
  readonly server: Server;
  /** The same by HTTP: the body of a request, and of its answer. */
  readonly httpServer: HttpServer;
  #report = emptyReport();

  /**
   * @param name who this is; a tag that means another one is a fault of the mesh.
   * @param refused whom policy keeps out: a tag of theirs is a fault of the mesh.
   * @param callers addresses of who stands between; none: each caller comes under its own.
   */
  constructor(name: string, refused: readonly string[], callers: readonly string[] = []) {
    this.#name = name;
    this.#refused = new Set(refused);
    this.#callers = new Set(callers);
    this.server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#serve(socket, socket);
    });
    this.httpServer = createHttpServer((request, response) => {
      response.flushHeaders();
      this.#serve(new HttpServerStream(request, response), request.socket);
    });
  }

  /** What was seen since the last time. */
  take(): ServerReport {
    const report = this.#report;
    this.#report = emptyReport();
    return report;
  }

  #serve(socket: Socket | HttpServerStream, { remoteAddress, remotePort }: Socket): void {
    const line = new LineReader();
    const caller = textOf(remoteAddress, remotePort);
    let tag: Tag | undefined;
    let expected: ExpectedBytes | undefined;
    let over = false;
    const end = (kind: 'complete' | 'broken'): void => {
      if (over) return;
      over = true;
      this.#report[kind]++;
    };
    const fail = (what: string): void => {
      if (!over) this.#report.wrong.push(`${this.#name}: ${what}, from ${caller} ${describe(tag)}`);
      over = true;
      if (socket instanceof Socket) resetSocket(socket);
      else socket.destroy();
    };
    const check = (chunk: Buffer): void => {
      const flaw = expected?.check(chunk);
      if (flaw !== undefined) fail(flaw);
    };
    socket.on('error', () => {
      end('broken');
    });
    socket.on('data', (chunk: Buffer) => {
      if (over) return;
      if (expected !== undefined) {
        check(chunk);
        return;
      }
      const first = line.take(chunk);
      if (first === undefined) return;
      try {
        tag = JSON.parse(first.line) as Tag;
      } catch {
        fail(`no tag but ${JSON.stringify(first.line.slice(0, 80))}`);
        return;
      }
      const flaw = this.#judge(tag, remoteAddress);
      if (flaw !== undefined) {
        fail(flaw);
        return;
      }
      expected = new ExpectedBytes(tag, 0);
      check(first.rest);
      answer(socket, this.#name, tag);
    });
    socket.on('end', () => {
      if (tag === undefined || expected === undefined) {
        // Nothing was said: a client that gave up between connecting and speaking ends in order too.
        end('broken');
        socket.end();
        return;
      }
      if (expected.done < tag.length) fail(`an end in order after ${expected.done} bytes`);
      else end('complete');
    });
  }

  #judge(tag: Tag, remoteAddress = ''): string | undefined {
    if (tag.target !== this.#name) return 'a connection to another pod';
    if (this.#refused.has(tag.source)) return 'a connection that policy refuses';
    const seen = remoteAddress.replace(/^::ffff:/, '');
    // Nothing is known of a socket that was reset before it was served.
    const isFrom = this.#callers.size === 0 ? seen === tag.sourceIp : this.#callers.has(seen);
    if (seen !== '' && !isFrom) return `a caller under the address ${seen}`;
    return undefined;
  }
}

/** Writes its own line and bytes as fast as they are read, and then ends its direction. */
function answer(socket: Socket | HttpServerStream, name: string, tag: Tag): void {
  const payload = new ExpectedBytes(tag, 1);
  socket.write(`${JSON.stringify({ ...tag, server: name })}\n`);
  const pump = (): void => {
    while (payload.done < tag.length)
      if (!socket.write(payload.next(MAX_WRITE_BYTES))) {
        socket.once('drain', pump);
        return;
      }
    socket.end();
  };
  pump();
}

function describe(tag: Tag | undefined): string {
  return tag === undefined ? '' : JSON.stringify(tag);
}

function emptyReport(): ServerReport {
  return { complete: 0, broken: 0, wrong: [] };
}
