import { join } from 'node:path';
import { connectTo, ExecProgram } from '../deploy/support.ts';
import type { Mesh } from '../support/mesh.ts';

/** A long connection that the other side ended. */
export type LongEnd = Readonly<{ openedAtMs: number; endedAtMs: number; how: string }>;

/** What the load program says once a second; all but `slowestMs`, of the last second, is since its start. */
export type LoadLine = Readonly<{
  /** New connections that came to a good end. */
  opened: number;
  longOpen: number;
  /** Words there and back on the long ones. */
  rounds: number;
  slowestMs: number;
  failures: readonly string[];
  longEnds: readonly LongEnd[];
}>;

export type LoadOptions = Readonly<{
  host: string;
  port: number;
  long: number;
  newPerSecond: number;
}>;

/** Load from a pod of namespace `shop`: see load-program.ts. */
export class Load {
  readonly #program: ExecProgram;

  private constructor(program: ExecProgram) {
    this.#program = program;
  }

  /** Resolves when the long connections are open. */
  static async start(mesh: Mesh, pod: string, options: LoadOptions): Promise<Load> {
    const { host, port, long, newPerSecond } = options;
    const node = [process.execPath, '--disable-warning=ExperimentalWarning'];
    const program = join(import.meta.dirname, 'load-program.ts');
    const args = [host, port, long, newPerSecond].map(String);
    const place = { namespace: 'shop', pod, command: [...node, program, ...args] };
    const load = new Load(await ExecProgram.start(connectTo(mesh.name), place));
    await load.next();
    return load;
  }

  async next(): Promise<LoadLine> {
    return JSON.parse(await this.#program.nextLine()) as LoadLine;
  }

  /** Ends what is open, in order. */
  async end(): Promise<LoadLine> {
    this.#program.endInput();
    return this.#program.last<LoadLine>();
  }
}
