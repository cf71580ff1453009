import { MeshError } from '../../base/errors.ts';
import { choiceSetting, parsedSetting, type SettingOptions } from './env.ts';
import {
  formatLogLine,
  type LogFields,
  type LogFormat,
  type LogLevel,
  type LogSpan,
} from './log-line.ts';
import { openLineWriter, type LineWriter } from './log-writer.ts';

/** Writes records of one scope. */
export interface Logger {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  trace(message: string, fields?: LogFields): void;
  log(level: LogLevel, message: string, fields?: LogFields, span?: LogSpan): void;
  /** Ask before building what is dear to build. */
  isEnabled(level: LogLevel): boolean;
}

/** A level for each named scope and one for all others. */
export type LogLevels = Readonly<{
  fallback: LogLevel | 'off';
  scopes: ReadonlyMap<string, LogLevel | 'off'>;
}>;

/** The log of one thread. */
export interface Log {
  /** For whole lines of another form, such as those of requests. */
  readonly writer: LineWriter;
  scope(name: string): Logger;
  levels(): LogLevels;
  /** Holds at once, for loggers made before too. */
  setLevels(levels: LogLevels): void;
  /** Writes what is waiting; for the last line before an exit. */
  flush(): void;
}

export type LogOptions = Readonly<{
  format: LogFormat;
  levels: LogLevels;
  /** Standard output unless told otherwise. */
  writer?: LineWriter;
  now?: () => number;
}>;

/** Smaller is louder; a record passes when its rank is at most that of its scope. */
const RANKS: Readonly<Record<LogLevel | 'off', number>> = {
  off: 0,
  error: 1,
  warn: 2,
  info: 3,
  debug: 4,
  trace: 5,
};
const MAX_SCOPES = 100;

export const DEFAULT_LOG_LEVELS: LogLevels = { fallback: 'info', scopes: new Map() };

/** Opens the log of this thread; every thread has its own and writes for itself. */
export function openLog(options: LogOptions): Log {
  const { format, now = Date.now } = options;
  const writer = options.writer ?? openStandardOutput(() => log.scope('log'));
  let { levels } = options;
  const scopes = new Map<string, ScopeLogger>();
  const log: Log = {
    writer,
    scope(name) {
      let logger = scopes.get(name);
      if (logger === undefined) {
        logger = new ScopeLogger((level, message, fields, span) => {
          const line = formatLogLine(
            { timeMs: now(), level, scope: name, message, fields, span },
            format,
          );
          // Of connections there are many, and what went well is nothing that anybody waits for.
          writer.write(line, span !== undefined && level === 'info' ? 'soon' : 'now');
        });
        logger.setRank(rankOf(levels, name));
        scopes.set(name, logger);
      }
      return logger;
    },
    levels: () => levels,
    setLevels(next) {
      levels = next;
      for (const [name, logger] of scopes) logger.setRank(rankOf(levels, name));
    },
    flush: () => {
      writer.flush();
    },
  };
  return log;
}

/**
 * Parses levels as RUST_LOG has them: `info`, `access=off`, `info,dns=debug`. A scope holds for those under it too,
 * which are named `<scope>::<more>`.
 *
 * @throws {MeshError} ERR_LOG_LEVEL for an unknown level, an empty scope, more than 100 scopes.
 */
export function parseLogLevels(text: string): LogLevels {
  let fallback: LogLevel | 'off' = 'info';
  const scopes = new Map<string, LogLevel | 'off'>();
  for (const part of text.split(',').map((item) => item.trim())) {
    if (part === '') continue;
    const [, scope, word = ''] = /^(?:([\w:./-]+)=)?(\w+)$/.exec(part) ?? [];
    const level = parseLevel(word);
    if (level === undefined || scopes.size >= MAX_SCOPES) {
      const found = JSON.stringify(part.slice(0, 64));
      const expected = 'error, warn, info, debug, trace or off, or <scope>=<level>';
      const message = `Cannot parse log level: found ${found}, expected ${expected}`;
      throw new MeshError('ERR_LOG_LEVEL', 'local', message);
    }
    if (scope === undefined) fallback = level;
    else scopes.set(scope, level);
  }
  return { fallback, scopes };
}

/** What parseLogLevels() reads as the same levels. */
export function formatLogLevels(levels: LogLevels): string {
  const scopes = [...levels.scopes].map(([scope, level]) => `${scope}=${level}`);
  return [levels.fallback, ...scopes].join(',');
}

/** LOG_FORMAT and RUST_LOG, which every program has. */
export const logSettings = {
  logFormat: choiceSetting('LOG_FORMAT', ['text', 'json'], {
    description: 'Form of a log line',
    default: 'text',
  }),
  logLevels: logLevelsSetting('RUST_LOG', {
    description: 'Log levels, in all and by scope',
    default: DEFAULT_LOG_LEVELS,
  }),
} as const;

/** Levels under another variable's name. */
export function logLevelsSetting(
  name: string,
  options: SettingOptions<LogLevels>,
): ReturnType<typeof parsedSetting<LogLevels, LogLevels>> {
  return parsedSetting<LogLevels, LogLevels>(name, {
    ...options,
    accepts: 'levels such as info or info,dns=debug',
    defaultText: formatLogLevels(options.default),
    parse: parseLogLevels,
  });
}

/** Standard output, for one log a thread; what is waiting when the thread ends is written then. */
function openStandardOutput(logger: () => Logger): LineWriter {
  const writer = openLineWriter(1, {
    onDropped: (lines) => {
      logger().warn('lines were dropped because their reader is too slow', { lines });
    },
  });
  process.once('exit', () => {
    writer.flush();
  });
  return writer;
}

function parseLevel(word: string): LogLevel | 'off' | undefined {
  const lower = word.toLowerCase();
  if (lower === 'warning') return 'warn';
  return Object.keys(RANKS).find((level): level is LogLevel | 'off' => level === lower);
}

/** The level of the longest scope that holds `scope`. */
function rankOf(levels: LogLevels, scope: string): number {
  for (let name = scope; ; name = name.slice(0, name.lastIndexOf('::'))) {
    const level = levels.scopes.get(name);
    if (level !== undefined) return RANKS[level];
    if (!name.includes('::')) return RANKS[levels.fallback];
  }
}

const NO_FIELDS: LogFields = {};

type WriteRecord = (
  level: LogLevel,
  message: string,
  fields: LogFields,
  span: LogSpan | undefined,
) => void;

class ScopeLogger implements Logger {
  readonly #write: WriteRecord;
  #rank = 0;

  constructor(write: WriteRecord) {
    this.#write = write;
  }

  setRank(rank: number): void {
    this.#rank = rank;
  }

  isEnabled(level: LogLevel): boolean {
    return RANKS[level] <= this.#rank;
  }

  log(level: LogLevel, message: string, fields: LogFields = NO_FIELDS, span?: LogSpan): void {
    if (RANKS[level] <= this.#rank) this.#write(level, message, fields, span);
  }

  error(message: string, fields?: LogFields): void {
    this.log('error', message, fields);
  }

  warn(message: string, fields?: LogFields): void {
    this.log('warn', message, fields);
  }

  info(message: string, fields?: LogFields): void {
    this.log('info', message, fields);
  }

  debug(message: string, fields?: LogFields): void {
    this.log('debug', message, fields);
  }

  trace(message: string, fields?: LogFields): void {
    this.log('trace', message, fields);
  }
}
