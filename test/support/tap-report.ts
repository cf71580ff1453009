export type TapResult = Readonly<{
  passed: number;
  failed: number;
  /** Why the run as a whole cannot count as a success, besides its failing tests. */
  problems: readonly string[];
}>;

/**
 * Reads ava's TAP output line by line; what belongs to a failing test is printed at once and in full.
 * Crashes (a test file that ended early, an unhandled rejection) are `not ok` lines too, and count as failures.
 */
export class TapReport {
  readonly #print: (text: string) => void;
  readonly #notRun: string[] = [];
  #passed = 0;
  #failed = 0;
  #planned: number | undefined;
  #last = '';
  #inFailure = false;

  constructor(print: (text: string) => void) {
    this.#print = print;
  }

  readLine(line: string): void {
    const [, not, title = '', directive] =
      /^(not )?ok \d+(?: - (.*?))?(?: # (SKIP|TODO))?$/.exec(line) ?? [];
    if (/^(?:not )?ok \d+/.test(line)) {
      this.#last = title;
      this.#inFailure = false;
      if (directive !== undefined) this.#notRun.push(`${title} (${directive.toLowerCase()})`);
      else if (not === undefined) this.#passed++;
      else this.#startFailure(title);
    } else if (/^1\.\.\d+$/.test(line)) {
      this.#planned = Number(line.slice(3));
      this.#inFailure = false;
    } else if (this.#inFailure && /^(?: |#)/.test(line)) {
      this.#print(`${line}\n`);
    } else {
      this.#inFailure = false;
    }
  }

  /** How far the run is, in one line. */
  progress(): string {
    return `${this.#passed} passed, ${this.#failed} failed so far, last: ${this.#last}`;
  }

  /** @param ended the runner's exit code, or the signal that ended it. */
  finish(ended: number | string): TapResult {
    const problems = [];
    if (this.#notRun.length > 0) problems.push(`Not run: ${this.#notRun.join('; ')}`);
    const broken = [];
    if (this.#planned === undefined) broken.push('The test runner broke off before its summary');
    if (this.#passed + this.#failed === 0) broken.push('No test ran');
    if (ended !== 0 && this.#failed === 0) broken.push(`The test runner ended with ${ended}`);
    return { passed: this.#passed, failed: this.#failed, problems: [...problems, ...broken] };
  }

  #startFailure(title: string): void {
    this.#failed++;
    this.#inFailure = true;
    this.#print(`\nFAILED ${title}\n`);
  }
}
