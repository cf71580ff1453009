import { MeshError } from '../../base/errors.ts';
import type { ByteStream } from '../byte-stream.ts';
import { Http2Connection } from '../h2/connection.ts';
import { PROTOCOL_ERROR } from '../h2/errors.ts';
import type { HeaderList } from '../h2/headers.ts';
import type { Http2Options } from '../h2/options.ts';
import { Http1ClientConnection } from '../http1/client-connection.ts';
import type { Http1Options } from '../http1/options.ts';
import type {
  ClientExchange,
  ExchangeHandler,
  HttpClientConnection,
  HttpClientHandler,
} from './exchange.ts';
import { type Translation, toExtendedConnect, toUpgrade } from './extended-connect.ts';

export type HttpClientOptions = Readonly<{ http1?: Http1Options; http2?: Http2Options }>;

/**
 * Begins as a client of that version over any ByteStream, which the connection owns from here on; requests can be opened at
 * once, also before the transport is connected.
 *
 * @throws {RangeError} for an option that HTTP/2 cannot express.
 */
export function connectHttp(
  transport: ByteStream,
  version: 'http1' | 'http2',
  options: HttpClientOptions,
  handler: HttpClientHandler,
): HttpClientConnection {
  return version === 'http1'
    ? new UpgradingClient(new Http1ClientConnection(transport, options.http1 ?? {}, handler))
    : new Http2Client(transport, options.http2 ?? {}, handler);
}

/** HTTP/1.1, also for requests that ask for a protocol as HTTP/2 does. */
class UpgradingClient implements HttpClientConnection {
  readonly #connection: Http1ClientConnection;

  constructor(connection: Http1ClientConnection) {
    this.#connection = connection;
  }

  availableExchanges(): number {
    return this.#connection.availableExchanges();
  }

  open(
    headers: HeaderList,
    endStream: boolean,
    handler: ExchangeHandler,
  ): ClientExchange | undefined {
    const translation = toUpgrade(headers);
    if (translation === undefined) return this.#connection.open(headers, endStream, handler);
    const translated = new TranslatedHandler(translation, handler);
    translated.exchange = this.#connection.open(translation.request, false, translated);
    return translated.exchange;
  }

  drain(): void {
    this.#connection.drain();
  }

  close(): void {
    this.#connection.close();
  }
}

class Http2Client implements HttpClientConnection {
  readonly #connection: Http2Connection;

  constructor(transport: ByteStream, options: Http2Options, handler: HttpClientHandler) {
    this.#connection = Http2Connection.client(transport, options, handler);
  }

  availableExchanges(): number {
    return this.#connection.availableStreams();
  }

  open(
    headers: HeaderList,
    endStream: boolean,
    handler: ExchangeHandler,
  ): ClientExchange | undefined {
    const translation = toExtendedConnect(headers);
    if (translation === undefined)
      return this.#connection.openStream(headers, handler, { endStream });
    const translated = new TranslatedHandler(translation, handler);
    translated.exchange = this.#connection.openStream(translation.request, translated);
    return translated.exchange;
  }

  drain(): void {
    this.#connection.drain();
  }

  close(): void {
    this.#connection.close();
  }
}

/** Hands the answer on in the form that the request was given in. */
class TranslatedHandler implements ExchangeHandler {
  exchange: (ClientExchange & { reset(code?: number): void }) | undefined;
  readonly #translation: Translation;
  readonly #handler: ExchangeHandler;

  constructor(translation: Translation, handler: ExchangeHandler) {
    this.#translation = translation;
    this.#handler = handler;
  }

  onResponse(headers: HeaderList, endStream: boolean): void {
    const response = this.#translation.response(headers);
    if (response !== undefined) {
      this.#handler.onResponse?.(response, endStream);
      return;
    }
    const sink = this.exchange;
    sink?.reset(PROTOCOL_ERROR);
    this.onError(
      new MeshError(
        'ERR_HTTP_UPGRADE',
        'upstream',
        'Cannot upgrade: the server accepted another key',
      ),
    );
  }

  onInformational(headers: HeaderList): void {
    this.#handler.onInformational?.(headers);
  }

  onTrailers(trailers: HeaderList): void {
    this.#handler.onTrailers?.(trailers);
  }

  onError(error: Error): void {
    this.#handler.onError?.(error);
  }
}
