import { MeshError, type Side } from '../../base/errors.ts';

/** Error codes of RST_STREAM and GOAWAY. RFC 9113 section 7. */
export const NO_ERROR = 0x0;
export const PROTOCOL_ERROR = 0x1;
export const INTERNAL_ERROR = 0x2;
export const FLOW_CONTROL_ERROR = 0x3;
export const SETTINGS_TIMEOUT = 0x4;
export const STREAM_CLOSED = 0x5;
export const FRAME_SIZE_ERROR = 0x6;
export const REFUSED_STREAM = 0x7;
export const CANCEL = 0x8;
export const COMPRESSION_ERROR = 0x9;
export const CONNECT_ERROR = 0xa;
export const ENHANCE_YOUR_CALM = 0xb;
export const INADEQUATE_SECURITY = 0xc;
export const HTTP_1_1_REQUIRED = 0xd;

const names = [
  'NO_ERROR',
  'PROTOCOL_ERROR',
  'INTERNAL_ERROR',
  'FLOW_CONTROL_ERROR',
  'SETTINGS_TIMEOUT',
  'STREAM_CLOSED',
  'FRAME_SIZE_ERROR',
  'REFUSED_STREAM',
  'CANCEL',
  'COMPRESSION_ERROR',
  'CONNECT_ERROR',
  'ENHANCE_YOUR_CALM',
  'INADEQUATE_SECURITY',
  'HTTP_1_1_REQUIRED',
];

/** The RFC's name of an error code, or its number in hexadecimal for one that the RFC does not know. */
export function formatErrorCode(code: number): string {
  return names[code] ?? `0x${code.toString(16)}`;
}

/** The whole connection is over: told to the peer by GOAWAY with `h2Code`, and to every stream. */
export class Http2ConnectionError extends MeshError {
  readonly h2Code: number;

  constructor(h2Code: number, side: Side, message: string, options?: ErrorOptions) {
    super('ERR_HTTP2_CONNECTION', side, message, options);
    this.h2Code = h2Code;
  }
}

type StreamErrorOptions = ErrorOptions & { resetByPeer?: boolean };

/** One stream broke; the others go on, unless the connection is named as the cause. */
export class Http2StreamError extends MeshError {
  /** The code of the RST_STREAM that was received or sent, or of the GOAWAY that took the stream with it. */
  readonly h2Code: number;
  /**
   * False only when the peer has said that it did nothing with the request (REFUSED_STREAM, or an id beyond the last
   * one of its GOAWAY), so that sending it again is safe whatever its method. RFC 9113 section 8.7.
   */
  readonly processed: boolean;
  /** The peer sent RST_STREAM; otherwise it broke the protocol, or the connection ended. */
  readonly resetByPeer: boolean;

  constructor(
    h2Code: number,
    processed: boolean,
    side: Side,
    message: string,
    options?: StreamErrorOptions,
  ) {
    super('ERR_HTTP2_STREAM', side, message, options);
    this.h2Code = h2Code;
    this.processed = processed;
    this.resetByPeer = options?.resetByPeer === true;
  }
}

export function connectionError(
  h2Code: number,
  side: Side,
  found: string,
  options?: ErrorOptions,
): Http2ConnectionError {
  const message = `Cannot go on with an HTTP/2 connection: ${found} (${formatErrorCode(h2Code)})`;
  return new Http2ConnectionError(h2Code, side, message, options);
}

/** @param processed as in Http2StreamError. */
export function streamError(
  streamId: number,
  h2Code: number,
  processed: boolean,
  side: Side,
  found: string,
  options?: StreamErrorOptions,
): Http2StreamError {
  const message = `Cannot go on with HTTP/2 stream ${streamId}: ${found} (${formatErrorCode(h2Code)})`;
  return new Http2StreamError(h2Code, processed, side, message, options);
}

/**
 * What the frame and header layers throw when the peer breaks the protocol for the whole connection.
 * It never leaves the connection, which turns it into a GOAWAY and an Http2ConnectionError.
 */
export class Http2Violation extends Error {
  readonly h2Code: number;

  constructor(h2Code: number, found: string) {
    super(found);
    this.h2Code = h2Code;
  }
}
