import { createServer, type Server, type Socket } from 'node:net';
import { resetSocket } from '../../base/reset-socket.ts';
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
  readonly server: Server;
  #report = emptyReport();

  /**
   * @param name who this is; a tag that means another one is a fault of the mesh.
   * @param refused whom policy keeps out: a tag of theirs is a fault of the mesh.
   */
  constructor(name: string, refused: readonly string[]) {
    this.#name = name;
    this.#refused = new Set(refused);
    this.server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#serve(socket);
    });
  }

  /** What was seen since the last time. */
  take(): ServerReport {
    const report = this.#report;
    this.#report = emptyReport();
    return report;
  }

  #serve(socket: Socket): void {
    const line = new LineReader();
    const caller = textOf(socket.remoteAddress, socket.remotePort);
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
      resetSocket(socket);
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
      const flaw = this.#judge(tag, socket);
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

  #judge(tag: Tag, socket: Socket): string | undefined {
    if (tag.target !== this.#name) return 'a connection to another pod';
    if (this.#refused.has(tag.source)) return 'a connection that policy refuses';
    const seen = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
    // Nothing is known of a socket that was reset before it was served.
    if (seen !== '' && seen !== tag.sourceIp) return `a caller under the address ${seen}`;
    return undefined;
  }
}

/** Writes its own line and bytes as fast as they are read, and then ends its direction. */
function answer(socket: Socket, name: string, tag: Tag): void {
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
