import type { IncomingMessage, ServerResponse } from 'node:http';
import { describeError, MeshError } from '../../base/errors.ts';
import type { ErrorResponse } from './api.ts';
import { isRecord } from './documents.ts';

/** Objects come as text from files; more than this is none of ours. */
const MAX_BODY_BYTES = 64 * 1024 * 1024;
/** What a reader of events may be behind before it is let go. */
export const MAX_BACKLOG_BYTES = 16 * 1024 * 1024;

/** A line of JSON for each call; a reader that falls too far behind is let go. */
export function openLines(response: ServerResponse): (value: unknown) => void {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  response.flushHeaders();
  return (value) => {
    if (response.writableLength < MAX_BACKLOG_BYTES) response.write(`${JSON.stringify(value)}\n`);
    else response.destroy();
  };
}

/**
 * The object that a request carries.
 *
 * @throws {MeshError} ERR_BODY when it is longer than MAX_BODY_BYTES, or no JSON object.
 */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES)
      throw apiError('ERR_BODY', `Cannot read a request of more than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  let value: unknown;
  try {
    value = JSON.parse(Buffer.concat(chunks).toString());
  } catch (cause) {
    throw apiError('ERR_BODY', `Cannot read the request: ${describeError(cause)}`);
  }
  if (!isRecord(value)) throw apiError('ERR_BODY', 'Cannot read the request: found no object');
  return value;
}

/** Answers, unless an answer has begun. */
export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  if (response.headersSent) return;
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(value));
}

/** Answers with what went wrong; where an answer has begun, breaks it off. */
export function sendError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) response.destroy();
  else sendJson(response, statusOfError(error), errorBody(error));
}

export function statusOfError(error: unknown): number {
  if (!(error instanceof MeshError)) return 500;
  return error.code === 'ERR_NOT_FOUND' ? 404 : 400;
}

/** The error as ErrorResponse has it. */
export function errorBody(error: unknown): ErrorResponse {
  const code = error instanceof MeshError ? error.code : 'ERR_INTERNAL';
  return { error: { code, message: describeError(error) } };
}

/** The answer after which a connection carries another protocol. */
export function switchingProtocols(protocol: string): string {
  return `HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: ${protocol}\r\n\r\n`;
}

export function apiError(code: string, message: string): MeshError {
  return new MeshError(code, 'local', message);
}
