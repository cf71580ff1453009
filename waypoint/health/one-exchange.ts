import { MeshError } from '../../base/errors.ts';
import { HEADROOM, type SharedBytes } from '../../net/byte-stream.ts';
import type { HeaderList } from '../../net/h2/headers.ts';
import type { ClientExchange, HttpClientConnection } from '../../net/http/exchange.ts';
import { allocateShared } from '../../net/shared-bytes.ts';

export type OneAnswer = Readonly<{ headers: HeaderList; trailers: HeaderList; body: Buffer }>;

/** What is more is not read: nobody who asks once needs it. */
const MAX_BODY_BYTES = 1024;

/**
 * One small request and its answer; a body that is longer than MAX_BODY_BYTES is cut off.
 *
 * @param hearOfEnd is given whom to tell that the connection is over.
 * @throws {MeshError} when there is no whole answer; the signal's reason.
 */
export async function askOnce(
  connection: HttpClientConnection,
  { headers, body }: Readonly<{ headers: HeaderList; body: Buffer | undefined }>,
  signal: AbortSignal,
  hearOfEnd: (tell: (error?: Error) => void) => void,
): Promise<OneAnswer> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<OneAnswer>();
  const fail = (cause?: Error): void => {
    const message = 'Cannot read an answer: the connection ended before it';
    reject(cause ?? new MeshError('ERR_UPSTREAM_CLOSED', 'upstream', message));
  };
  const aborted = (): void => {
    fail(signal.reason instanceof Error ? signal.reason : undefined);
  };
  hearOfEnd(fail);
  signal.addEventListener('abort', aborted, { once: true });
  const answer = { headers: NONE, trailers: NONE, body: Buffer.alloc(0) };
  let request = body === undefined ? undefined : shared(body);
  const exchange: ClientExchange | undefined = connection.open(headers, body === undefined, {
    onResponse(list) {
      answer.headers = list;
    },
    onTrailers(list) {
      answer.trailers = list;
    },
    onError: fail,
  });
  const send = (): void => {
    if (request === undefined || exchange === undefined) return;
    const { bytes, length } = request;
    // So small that it goes as a whole or not at all.
    if (exchange.capacity() < length) return;
    request = undefined;
    exchange.write(bytes, HEADROOM, length);
    exchange.end();
  };
  try {
    if (exchange === undefined) fail();
    exchange?.setSink({
      capacity: () => MAX_BODY_BYTES,
      onData(bytes, offset, length) {
        const room = MAX_BODY_BYTES - answer.body.length;
        const part = bytes.buffer.subarray(offset, offset + Math.min(length, room));
        answer.body = Buffer.concat([answer.body, part]);
        return length;
      },
      onEnd() {
        resolve(answer);
      },
      onError: fail,
      onWritable: send,
    });
    send();
    return await promise;
  } finally {
    signal.removeEventListener('abort', aborted);
  }
}

const NONE: HeaderList = [];

function shared(body: Buffer): Readonly<{ bytes: SharedBytes; length: number }> {
  const bytes = allocateShared(HEADROOM + body.length);
  body.copy(bytes.buffer, HEADROOM);
  return { bytes, length: body.length };
}
