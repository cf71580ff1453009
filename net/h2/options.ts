import { type Clock, systemClock } from '../clock.ts';
import type { Settings } from './frame.ts';
import {
  CLIENT_HEADER_LIST_BYTES,
  CLIENT_STREAMS,
  CONNECTION_WINDOW_BYTES,
  INITIAL_HEADER_TABLE_BYTES,
  KEEPALIVE_IDLE_MS,
  KEEPALIVE_TIMEOUT_MS,
  MAX_31_BITS,
  MAX_FRAME_BYTES,
  MIN_FRAME_BYTES,
  RECEIVED_FRAME_BYTES,
  SERVER_HEADER_LIST_BYTES,
  SERVER_STREAMS,
  START_WINDOW_BYTES,
  STREAM_WINDOW_BYTES,
} from './limits.ts';
import {
  ENABLE_CONNECT_PROTOCOL,
  ENABLE_PUSH,
  HEADER_TABLE_SIZE,
  INITIAL_WINDOW_SIZE,
  MAX_CONCURRENT_STREAMS,
  MAX_FRAME_SIZE,
  MAX_HEADER_LIST_SIZE,
} from './settings.ts';

export type Http2Parameters = Readonly<{
  /** Receive window of each stream: what a reader that has stopped can make us hold. */
  streamWindowBytes: number;
  /** Receive window of the connection; at least four stream windows, so that one stalled stream stops no other. */
  connectionWindowBytes: number;
  /** Largest frame payload that the peer may send. */
  maxFrameBytes: number;
  /** Largest decoded header list that the peer may send, with 32 bytes a field. */
  maxHeaderListBytes: number;
  /** Streams at a time: those that a server lets its client have, those that a client opens at the most. */
  maxStreams: number;
  /** HPACK table that we keep for the peer's headers, and the most that we use of the one that it keeps for ours. */
  headerTableBytes: number;
  /** Server: whether CONNECT with `:protocol` is allowed. RFC 8441. */
  extendedConnect: boolean;
  /** Time without input before a PING; 0 for none. */
  keepaliveIdleMs: number;
  /** Time without input after it, which ends the connection. */
  keepaliveTimeoutMs: number;
  /** Client: how long a stream, and then a PING, may be without an answer before isUnresponsive(); 0 for ever. */
  answerPatienceMs: number;
  clock: Clock;
}>;

export type Http2Options = Partial<Http2Parameters>;

/** @throws {RangeError} for a value that HTTP/2 cannot express. */
export function completeOptions(options: Http2Options, isServer: boolean): Http2Parameters {
  const complete = {
    streamWindowBytes: STREAM_WINDOW_BYTES,
    connectionWindowBytes: CONNECTION_WINDOW_BYTES,
    maxFrameBytes: RECEIVED_FRAME_BYTES,
    maxHeaderListBytes: isServer ? SERVER_HEADER_LIST_BYTES : CLIENT_HEADER_LIST_BYTES,
    maxStreams: isServer ? SERVER_STREAMS : CLIENT_STREAMS,
    headerTableBytes: INITIAL_HEADER_TABLE_BYTES,
    extendedConnect: false,
    keepaliveIdleMs: KEEPALIVE_IDLE_MS,
    keepaliveTimeoutMs: KEEPALIVE_TIMEOUT_MS,
    answerPatienceMs: 0,
    clock: systemClock,
    ...options,
  };
  checkRange('streamWindowBytes', complete.streamWindowBytes, 1, MAX_31_BITS);
  checkRange('connectionWindowBytes', complete.connectionWindowBytes, 65_535, MAX_31_BITS);
  checkRange('maxFrameBytes', complete.maxFrameBytes, MIN_FRAME_BYTES, MAX_FRAME_BYTES);
  checkRange('maxHeaderListBytes', complete.maxHeaderListBytes, 1, MAX_31_BITS);
  checkRange('maxStreams', complete.maxStreams, 0, MAX_31_BITS);
  checkRange('headerTableBytes', complete.headerTableBytes, 0, MAX_31_BITS);
  return complete;
}

/** What a stream's window begins with. */
export function startWindowBytes({ streamWindowBytes }: Http2Parameters): number {
  return Math.min(streamWindowBytes, START_WINDOW_BYTES);
}

/** What our first SETTINGS frame says; values that the RFC presumes anyway are left out. */
export function makeSettings(parameters: Http2Parameters, isServer: boolean): Settings {
  const settings = new Map<number, number>();
  if (parameters.headerTableBytes !== INITIAL_HEADER_TABLE_BYTES)
    settings.set(HEADER_TABLE_SIZE, parameters.headerTableBytes);
  if (isServer) settings.set(MAX_CONCURRENT_STREAMS, parameters.maxStreams);
  else settings.set(ENABLE_PUSH, 0);
  settings.set(INITIAL_WINDOW_SIZE, startWindowBytes(parameters));
  settings.set(MAX_FRAME_SIZE, parameters.maxFrameBytes);
  settings.set(MAX_HEADER_LIST_SIZE, parameters.maxHeaderListBytes);
  if (isServer && parameters.extendedConnect) settings.set(ENABLE_CONNECT_PROTOCOL, 1);
  return settings;
}

function checkRange(name: string, value: number, least: number, most: number): void {
  if (!Number.isInteger(value) || value < least || value > most)
    throw new RangeError(`Cannot use ${name} ${value}: it must be from ${least} to ${most}`);
}
