export type TapResult = Readonly<{
  passed: number;
  failed: number;
  /** A text for each failure: its title and the first lines of what the test said of it. */
  failures: readonly string[];
}>;

/** What a test says first tells what is wrong; a stack or a long difference follows. */
const LINES_OF_A_FAILURE = 12;

/** Ava's TAP says nothing of a file that has passed and does not end. */
const HINT =
  ', though no test failed: perhaps a file does not end, because something of it is open still; ava with its usual output names it';

/**
 * Reads ava's TAP output line by line; what belongs to a failing test is printed at once and in full.
 * Crashes (a test file that ended early, an unhandled rejection) are `not ok` lines too, and count as failures.
 */
export class TapReport {
  readonly #print: (text: string) => void;
  readonly #notRun: string[] = [];
  readonly #failures: string[][] = [];
  #passed = 0;
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
    } else if (this.#inFailure && /^(?: |#|$)/.test(line)) {
      // A value over several lines may have empty ones, which YAML does not indent.
      this.#print(`${line}\n`);
      const told = this.#failures.at(-1);
      if (told !== undefined && told.length <= LINES_OF_A_FAILURE) told.push(line);
    } else {
      this.#inFailure = false;
    }
  }

  /** How far the run is, in one line. */
  progress(): string {
    return `${this.#passed} passed, ${this.#failures.length} failed so far, last: ${this.#last}`;
  }

  /**
   * A run that broke off, or in which no test ran, counts as a failure of its own: the count must not look clean.
   *
   * @param ended the runner's exit code, or the signal that ended it.
   */
  finish(ended: number | string): TapResult {
    const broken = [];
    if (this.#planned === undefined) broken.push('the test runner broke off before its summary');
    if (this.#passed + this.#failures.length === 0) broken.push('no test ran');
    if (ended !== 0 && this.#failures.length === 0)
      broken.push(`the test runner ended with ${ended}${HINT}`);
    if (broken.length > 0) this.#startFailure(`the run itself: ${broken.join('; ')}`);
    if (this.#notRun.length > 0) this.#print(`\nNot run: ${this.#notRun.join('; ')}\n`);
    const failures = this.#failures.map((lines) => lines.join('\n'));
    return { passed: this.#passed, failed: failures.length, failures };
  }

  #startFailure(title: string): void {
    this.#failures.push([title]);
    this.#inFailure = true;
    this.#print(`\nFAILED ${title}\n`);
  }
}
