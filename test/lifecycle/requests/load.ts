import { join } from 'node:path';
import { connectTo, ExecProgram } from '../../deploy/support.ts';
import type { Mesh } from '../../support/mesh.ts';

/**
 * `fresh`: HTTP/1.1 with a connection for each request. `seldom`: on one that is kept and mostly idle. `unary` and `stream`
 * are gRPC.
 */
export type RequestKind = 'fresh' | 'seldom' | 'http1' | 'http2' | 'unary' | 'stream' | 'websocket';

export type RequestFailure = Readonly<{ kind: RequestKind; atMs: number; what: string }>;

/** A stream or a WebSocket that the other side ended. */
export type LongEnd = Readonly<{
  kind: 'stream' | 'websocket';
  openedAtMs: number;
  /** When GOAWAY came, in HTTP/2. */
  toldAtMs: number | undefined;
  endedAtMs: number;
  how: string;
}>;

/** All that has come of the load since its start: answers with every byte right, and what was lost. */
export type RequestLoadLine = Readonly<{
  done: Readonly<Record<RequestKind, number>>;
  failures: readonly RequestFailure[];
  longEnds: readonly LongEnd[];
}>;

const PROGRAMS = import.meta.dirname;
const NODE = [process.execPath, '--disable-warning=ExperimentalWarning'];

/** The image of server-program.ts. */
export const SERVER_IMAGE = {
  'test/request-server': [...NODE, join(PROGRAMS, 'server-program.ts')],
};

/** Load of every kind of request from a pod of namespace `shop`: see load-program.ts. */
export class RequestLoad {
  readonly #program: ExecProgram;

  private constructor(program: ExecProgram) {
    this.#program = program;
  }

  /** Resolves when it has run for a second. */
  static async start(mesh: Mesh, pod: string, host: string): Promise<RequestLoad> {
    const command = [...NODE, join(PROGRAMS, 'load-program.ts'), host];
    const program = await ExecProgram.start(connectTo(mesh.name), {
      namespace: 'shop',
      pod,
      command,
    });
    const load = new RequestLoad(program);
    await load.next();
    return load;
  }

  async next(): Promise<RequestLoadLine> {
    return JSON.parse(await this.#program.nextLine()) as RequestLoadLine;
  }

  async end(): Promise<RequestLoadLine> {
    this.#program.endInput();
    return this.#program.last<RequestLoadLine>();
  }
}
