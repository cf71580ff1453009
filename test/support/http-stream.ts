import { request as askHttp, type ClientRequest, type IncomingMessage } from 'node:http';
import type { ServerResponse } from 'node:http';
import { Duplex } from 'node:stream';

type Done = (error?: Error | null) => void;

/**
 * One HTTP exchange of a client as a stream both ways: what is written is the body of a POST, what is read that of its
 * answer. Another status than 200 is an error with the code `HTTP_<status>`; an answer that was cut is ECONNRESET.
 */
export class HttpClientStream extends Duplex {
  readonly #request: ClientRequest;
  #response: IncomingMessage | undefined;
  localAddress: string | undefined;
  localPort: number | undefined;

  constructor(host: string, port: number) {
    super({ allowHalfOpen: true });
    const request = askHttp({ host, port, method: 'POST', path: '/', agent: false });
    this.#request = request;
    request.on('error', (error) => this.destroy(error));
    request.on('socket', (socket) => {
      socket.once('connect', () => {
        ({ localAddress: this.localAddress, localPort: this.localPort } = socket);
        this.emit('connect');
      });
    });
    request.on('response', (response) => {
      this.#take(response);
    });
  }

  override _write(chunk: Buffer, _encoding: string, done: Done): void {
    this.#request.write(chunk, done);
  }

  override _final(done: Done): void {
    this.#request.end(() => {
      done();
    });
  }

  override _read(): void {
    this.#response?.resume();
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#request.destroy();
    done(error);
  }

  #take(response: IncomingMessage): void {
    const { statusCode = 0 } = response;
    if (statusCode !== 200) {
      this.destroy(Object.assign(new Error('another status'), { code: `HTTP_${statusCode}` }));
      return;
    }
    this.#response = response;
    readInto(this, response);
  }
}

/** One HTTP exchange of a server as a stream both ways. The answer ends when the request has. */
export class HttpServerStream extends Duplex {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(request: IncomingMessage, response: ServerResponse) {
    super({ allowHalfOpen: true });
    this.#request = request;
    this.#response = response;
    response.on('error', (error) => this.destroy(error));
    response.on('close', () => {
      if (!response.writableFinished) this.destroy(cut());
    });
    readInto(this, request);
  }

  override _write(chunk: Buffer, _encoding: string, done: Done): void {
    this.#response.write(chunk, done);
  }

  override _final(done: Done): void {
    const end = (): void => {
      this.#response.end(() => {
        done();
      });
    };
    if (this.readableEnded) end();
    else this.once('end', end);
  }

  override _read(): void {
    this.#request.resume();
  }

  override _destroy(error: Error | null, done: Done): void {
    if (!this.#response.writableFinished) this.#request.socket.destroy();
    done(error);
  }
}

/** The body of a message, to whoever reads the stream. A message that is not whole never ends in order. */
function readInto(stream: Duplex, message: IncomingMessage): void {
  message.on('data', (chunk: Buffer) => {
    if (!stream.push(chunk)) message.pause();
  });
  message.on('end', () => {
    if (message.complete) stream.push(null);
    else stream.destroy(cut());
  });
  message.on('error', (error) => stream.destroy(error));
  message.on('close', () => {
    if (!message.complete) stream.destroy(cut());
  });
}

function cut(): Error {
  return Object.assign(new Error('cut'), { code: 'ECONNRESET' });
}
