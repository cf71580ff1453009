import type { SharedBytes } from '../../net/byte-stream.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import { BodyReader } from '../../net/http1/body.ts';
import { type Http1Fault, Http1Violation } from '../../net/http1/errors.ts';
import { DEFAULT_LIMITS, type Http1Limits } from '../../net/http1/limits.ts';
import {
  type RequestHead,
  RequestParser,
  type ResponseHead,
  ResponseParser,
} from '../../net/http1/parse.ts';
import { shareBuffer } from '../../net/native/memory.ts';

export type Message<Head> = Readonly<{
  head: Head;
  body: string;
  /** Absent while the body goes on. */
  trailers?: HeaderList;
}>;

/** What a connection's bytes say, up to where they end or break a rule. */
export type Reading<Head> = Readonly<{
  messages: readonly Message<Head>[];
  fault: Http1Fault | undefined;
  /** The bytes end with a whole message. */
  complete: boolean;
}>;

type HeadParser<Head> = {
  head: Head | undefined;
  read(bytes: SharedBytes, from: number, to: number): number;
};

/** Reads the requests of one connection; those after one that ends it too. */
export function readRequests(
  pieces: readonly Buffer[],
  limits: Http1Limits = DEFAULT_LIMITS,
): Reading<RequestHead> {
  return readMessages(new RequestParser(limits), pieces, limits);
}

/** Reads the responses to requests of one method. */
export function readResponses(
  pieces: readonly Buffer[],
  method = 'GET',
  limits: Http1Limits = DEFAULT_LIMITS,
): Reading<ResponseHead> {
  const parser = new ResponseParser(limits);
  const reader: HeadParser<ResponseHead> = {
    head: undefined,
    read(bytes, from, to) {
      const taken = parser.read(bytes, from, to, method, true);
      this.head = parser.head;
      return taken;
    },
  };
  return readMessages(reader, pieces, limits);
}

function readMessages<Head extends { body: number }>(
  parser: HeadParser<Head>,
  pieces: readonly Buffer[],
  limits: Http1Limits,
): Reading<Head> {
  const messages: Message<Head>[] = [];
  const body = new BodyReader(limits);
  let text = '';
  let current: Head | undefined;
  let inHead = false;
  const sink = {
    onBody({ buffer }: SharedBytes, offset: number, length: number): number {
      text += buffer.toString('latin1', offset, offset + length);
      return length;
    },
  };
  const finish = (): void => {
    if (current === undefined || !body.done) return;
    messages.push({ head: current, body: text, trailers: body.trailers });
    current = undefined;
    text = '';
  };
  const done = (fault?: Http1Fault): Reading<Head> => {
    const complete = current === undefined && !inHead && fault === undefined;
    if (current !== undefined) messages.push({ head: current, body: text });
    return { messages, fault, complete };
  };
  try {
    for (const piece of pieces.map(shareBuffer))
      for (let at = 0; at < piece.buffer.length; ) {
        if (current === undefined) {
          at += parser.read(piece, at, piece.buffer.length);
          current = parser.head;
          inHead = current === undefined;
          if (current !== undefined) body.begin(current.body);
        } else at += body.read(piece, at, piece.buffer.length, sink);
        finish();
      }
  } catch (error) {
    if (error instanceof Http1Violation) return done(error.fault);
    throw error;
  }
  return done();
}

/** Cuts bytes at every `size`, into memory of their own, so that nobody can look behind a piece. */
export function cut(bytes: Buffer, size: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size)
    pieces.push(Buffer.from(bytes.subarray(at, at + size)));
  return pieces;
}
