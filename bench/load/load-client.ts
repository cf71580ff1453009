import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { programCommand } from '../../mesh/runtime/program-command.ts';
import { startChild, stopChild, type Child } from '../harness/child.ts';
import type { LoadAnswer, LoadOperation, LoadOperations } from './protocol.ts';

/** As our proxies are started: what they share with the load then costs both the same. */
const CLIENT_COMMAND = programCommand(join(import.meta.dirname, 'client-program.ts'));
const SERVER_COMMAND = programCommand(join(import.meta.dirname, 'server-program.ts'));

/** A load generator in a process of its own; one request at a time. */
export class LoadClient implements AsyncDisposable {
  readonly #child: Child;
  readonly #lines: AsyncIterator<string>;

  /** @param enter makes a command run where the load is to come from. */
  constructor(enter: (command: readonly string[]) => readonly string[]) {
    this.#child = startChild(enter(CLIENT_COMMAND));
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** @throws {Error} with the reason of the client. */
  async ask<Op extends LoadOperation>(
    op: Op,
    ask: LoadOperations[Op]['ask'],
  ): Promise<LoadOperations[Op]['answer']> {
    this.#child.stdin.write(`${JSON.stringify({ op, ask })}\n`);
    const line = await this.#lines.next();
    if (line.done === true) throw new Error(`Cannot ask for ${op}: the load client has ended`);
    const answer = JSON.parse(line.value) as LoadAnswer;
    if ('error' in answer) throw new Error(`Cannot run ${op}: ${answer.error}`);
    return answer.answer as LoadOperations[Op]['answer'];
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stopChild(this.#child);
  }
}

/** Starts the load server somewhere; resolves when it listens. */
export async function startLoadServer(
  enter: (command: readonly string[]) => readonly string[],
): Promise<AsyncDisposable> {
  const child = startChild(enter(SERVER_COMMAND));
  for await (const line of createInterface({ input: child.stdout })) if (line === 'ready') break;
  return { [Symbol.asyncDispose]: () => stopChild(child) };
}
