import { formatSocketAddress, type SocketAddress } from '../../base/address.ts';

export type LogLevel = 'error' | 'warn' | 'info' | 'debug' | 'trace';

/** Addresses are an own kind of value because the text form leaves them without quotes, as Istio does. */
export type LogValue = string | number | bigint | boolean | SocketAddress | undefined;

/** Names with their values, in the order in which they appear; `undefined` is left out. */
export type LogFields = Readonly<Record<string, LogValue>>;

/** What a record belongs to: a connection, under an id that those who see its other parts log too. */
export type LogSpan = Readonly<{
  /** A word. */
  name: string;
  /** Hexadecimal: it is written as it is. */
  id: string;
}>;

export type LogRecord = Readonly<{
  timeMs: number;
  level: LogLevel;
  scope: string;
  message: string;
  fields: LogFields;
  span?: LogSpan | undefined;
}>;

export type LogFormat = 'text' | 'json';

/** Characters of one value; what a peer names itself must not fill the disk. */
const MAX_VALUE_LENGTH = 2048;

/**
 * What JSON leaves as it is but a terminal or a log reader may act on: DEL and C1 controls (0x9b begins an escape
 * sequence), line and paragraph separators, and the marks that turn the direction of text around.
 */
const ACTIVE = /[\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
/** Nothing to escape, and not too long. */
const PLAIN = /^[ !#-[\]-~]{0,2048}$/;
/** What a message may not hold bare: the same, and C0 controls. */
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** One record as one line that ends in a line feed, and holds no other. */
export function formatLogLine(record: LogRecord, format: LogFormat): string {
  return format === 'json' ? formatJsonLine(record) : formatTextLine(record);
}

/** RFC 3339 time, level, scope (with its span) and message between tabs, then `name=value` between spaces. */
function formatTextLine(record: LogRecord): string {
  const { timeMs, level, scope, message, fields, span } = record;
  let line = `${formatTime(timeMs)}\t${level}\t${scope}`;
  if (span !== undefined) line += `:${span.name}{id=${span.id}}`;
  line += `\t${escapeMessage(message)}`;
  let separator = '\t';
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined) continue;
    line += `${separator}${name}=${formatTextValue(value)}`;
    separator = ' ';
  }
  return `${line}\n`;
}

/** The span comes last, an object under its name, as istio/ztunnel has it. */
function formatJsonLine(record: LogRecord): string {
  const { timeMs, level, scope, message, fields, span } = record;
  let line = `{"level":"${level}","time":"${formatTime(timeMs)}","scope":${quoteLogText(scope)}`;
  line += `,"message":${quoteLogText(message)}`;
  for (const name in fields) {
    const value = fields[name];
    if (value === undefined) continue;
    line += `,${quoteLogText(name)}:${formatJsonValue(value)}`;
  }
  if (span !== undefined) line += `,"${span.name}":{"id":"${span.id}"}`;
  return `${line}}\n`;
}

function formatTextValue(value: NonNullable<LogValue>): string {
  if (typeof value === 'string') return quoteLogText(value);
  return typeof value === 'object' ? formatSocketAddress(value) : String(value);
}

function formatJsonValue(value: NonNullable<LogValue>): string {
  if (typeof value === 'string') return quoteLogText(value);
  if (typeof value === 'object') return `"${formatSocketAddress(value)}"`;
  if (typeof value === 'number' && !Number.isFinite(value)) return `"${value}"`;
  return String(value);
}

/** A JSON text, bounded, without what a terminal or a log reader may act on. */
export function quoteLogText(text: string): string {
  if (PLAIN.test(text)) return `"${text}"`;
  const bounded =
    text.length <= MAX_VALUE_LENGTH
      ? text
      : `${text.slice(0, MAX_VALUE_LENGTH)}... (${text.length} characters)`;
  return JSON.stringify(bounded).replace(ACTIVE, escapeCharacter);
}

function escapeMessage(message: string): string {
  return message.slice(0, MAX_VALUE_LENGTH).replace(CONTROL, escapeCharacter);
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
}

let lastTimeMs = NaN;
let lastTimeText = '';

/** Many lines share a millisecond; formatting a date is the dearest part of a line. */
function formatTime(timeMs: number): string {
  if (timeMs !== lastTimeMs) {
    lastTimeMs = timeMs;
    lastTimeText = new Date(timeMs).toISOString();
  }
  return lastTimeText;
}
