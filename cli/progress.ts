import { formatAge } from './age.ts';
import { printable, type Terminal } from './terminal.ts';

/** Shown only when a step takes longer than this. */
const QUIET_MS = 1_000;
const REDRAW_MS = 120;
/** Into a log, a line that says "still waiting" this often. */
const LOG_INTERVAL_MS = 10_000;
const FRAMES = ['|', '/', '-', '\\'];

/** Says what is going on while something takes long: one redrawn line on a terminal, plain lines elsewhere. */
export class Progress implements Disposable {
  readonly #terminal: Terminal;
  readonly #startedMs = performance.now();
  readonly #timer: NodeJS.Timeout;
  #message: string;
  #printed = '';
  #printedAtMs = 0;
  #frame = 0;

  constructor(terminal: Terminal, message: string) {
    this.#terminal = terminal;
    this.#message = message;
    this.#timer = setInterval(
      () => {
        this.#draw();
      },
      terminal.interactive ? REDRAW_MS : QUIET_MS,
    );
    this.#timer.unref();
  }

  /** What it is doing now. */
  say(message: string): void {
    this.#message = message;
  }

  #draw(): void {
    const now = performance.now();
    const elapsedMs = now - this.#startedMs;
    if (elapsedMs < QUIET_MS) return;
    const message = printable(this.#message).replaceAll('\n', ' ');
    const elapsed = formatAge(Math.floor(elapsedMs / 1000) * 1000);
    if (this.#terminal.interactive) {
      const frame = FRAMES[this.#frame++ % FRAMES.length] ?? '';
      // Return, the text, and erase to the end of the line (ECMA-48 EL).
      this.#terminal.note(`\r${frame} ${message} (${elapsed})\u001b[K`);
      this.#printed = message;
    } else if (message !== this.#printed || now - this.#printedAtMs > LOG_INTERVAL_MS) {
      this.#terminal.note(`${message} (${elapsed})\n`);
      this.#printed = message;
      this.#printedAtMs = now;
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    if (this.#terminal.interactive && this.#printed !== '') this.#terminal.note('\r\u001b[K');
  }
}
