import type { HeaderList } from '../net/h2/headers.ts';
import { findHeader } from '../net/h2/headers.ts';

/** Statuses of gRPC that are named here. */
const GRPC_UNKNOWN = 2;
export const GRPC_UNAVAILABLE = 14;
const MAX_GRPC_STATUS = 16;

/** `application/grpc`, with or without a message format. `application/grpc-web` is another protocol. */
export function isGrpcContentType(contentType: string | undefined): boolean {
  if (contentType?.startsWith('application/grpc') !== true) return false;
  const next = contentType.charAt('application/grpc'.length);
  return next === '' || next === '+' || next === ';';
}

/** The grpc-status of headers or trailers; UNKNOWN for one that is no status, `undefined` without one. */
export function grpcStatusOf(fields: HeaderList): number | undefined {
  const text = findHeader(fields, 'grpc-status');
  if (text === undefined) return undefined;
  const status = /^\d{1,2}$/.test(text) ? Number(text) : GRPC_UNKNOWN;
  return status <= MAX_GRPC_STATUS ? status : GRPC_UNKNOWN;
}

/** What an HTTP status means to a gRPC client. gRPC: HTTP to gRPC status code mapping. */
export function grpcStatusFor(httpStatus: number): number {
  switch (httpStatus) {
    case 400:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 429:
    case 502:
    case 503:
    case 504:
      return GRPC_UNAVAILABLE;
    default:
      return GRPC_UNKNOWN;
  }
}

/** A `grpc-message`: percent-encoded outside of visible ASCII. gRPC over HTTP/2, Responses. */
export function encodeGrpcMessage(message: string): string {
  return message.replace(/[^ -$&-~]/gu, (character) =>
    [...Buffer.from(character)]
      .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
      .join(''),
  );
}

const UNIT_MS: Readonly<Record<string, number>> = {
  H: 3_600_000,
  M: 60_000,
  S: 1000,
  m: 1,
  u: 0.001,
  n: 0.000_001,
};

/** The milliseconds of a `grpc-timeout`, at least one; `undefined` for what is none. gRPC over HTTP/2: at most 8 digits. */
export function parseGrpcTimeout(text: string | undefined): number | undefined {
  const [, digits, unit = ''] = /^(\d{1,8})([HMSmun])$/.exec(text ?? '') ?? [];
  const unitMs = UNIT_MS[unit];
  if (digits === undefined || unitMs === undefined) return undefined;
  return Math.max(1, Math.ceil(Number(digits) * unitMs));
}
