/** What a verb writes to and is stopped by. */
export type Terminal = Readonly<{
  /** Results. */
  out(text: string | Uint8Array): void;
  /** Progress, notes and errors. */
  note(text: string | Uint8Array): void;
  /** Notes go to a terminal, so that a line may be redrawn. */
  interactive: boolean;
  /** Results go to a terminal that may be coloured. */
  colours: boolean;
  /** Aborted by SIGINT and SIGTERM. */
  signal: AbortSignal;
}>;

/**
 * The process's own terminal. Colours follow https://no-color.org: none with NO_COLOR set, none into a pipe or file.
 * A reader that goes away (`halo get pods | head -1`) ends the process quietly, as it does other tools.
 */
export function processTerminal(signal: AbortSignal): Terminal {
  const { stdout, stderr, env } = process;
  for (const stream of [stdout, stderr])
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EPIPE') process.exit();
      throw error;
    });
  const noColor = env['NO_COLOR'];
  return {
    out: (text) => void stdout.write(text),
    note: (text) => void stderr.write(text),
    interactive: stderr.isTTY && env['TERM'] !== 'dumb',
    colours: stdout.isTTY && (noColor === undefined || noColor === '') && env['TERM'] !== 'dumb',
    signal,
  };
}

/** What the tables and texts mean, not which colour it is. */
export type Style = 'good' | 'bad' | 'warning' | 'dim' | 'bold';

/** ECMA-48 SGR parameters. */
const SGR: Readonly<Record<Style, string>> = {
  good: '32',
  bad: '31',
  warning: '33',
  dim: '2',
  bold: '1',
};

/** The text in a style where the terminal shows colours, else as it is. */
export function paint(terminal: Terminal, style: Style, text: string): string {
  return terminal.colours ? `\u001b[${SGR[style]}m${text}\u001b[0m` : text;
}

/**
 * Text from outside (names in YAML, messages of programs) made safe to show: a control character would move the
 * cursor or recolour the screen, so it is shown as its number.
 */
export function printable(text: string): string {
  return text.replace(
    // Controls but line feed and tab, and the marks that reorder text on the screen.
    /[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
