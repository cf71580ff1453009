import type { Terminal } from '../terminal.ts';

/** Prints what was observed and whether that is what a mesh must do. */
export class Report {
  readonly #terminal: Terminal;
  readonly #failed: string[] = [];
  #step = '';

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  step(title: string): void {
    this.#step = title;
    this.#terminal.out(`\n${title}\n`);
  }

  /** One observation: the text says what was seen, not what was hoped for. */
  observe(holds: boolean, seen: string): void {
    this.#terminal.out(`  ${holds ? 'ok  ' : 'FAIL'} ${seen}\n`);
    if (!holds) this.#failed.push(`${this.#step}: ${seen}`);
  }

  /** Text of another command, set off from the observations. */
  quote(text: string): void {
    this.#terminal.out(text.trimEnd().replace(/^/gm, '       | ').concat('\n'));
  }

  /** For quotes: no colours inside of them. */
  get plain(): Terminal {
    return { ...this.#terminal, colours: false };
  }

  get failed(): readonly string[] {
    return this.#failed;
  }
}
