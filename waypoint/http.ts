import { NOWHERE, Roster, type Seated } from '../base/roster.ts';
import type { HttpServerConnection } from '../net/http/exchange.ts';
import { serveHttp, type HttpServerOptions } from '../net/http/server.ts';
import type { ByteStream } from '../net/byte-stream.ts';
import { Http2Stream } from '../net/h2/stream.ts';
import type { LiveConnection } from '../mesh/proxy/live-connection.ts';
import { Downstream, type DownstreamFacts, type HttpVersion } from './downstream.ts';
import type { RequestParts } from './request-parts.ts';
import { serveRequest } from './request.ts';

/** One of them while it is open. */
class OpenHttpConnection implements Seated {
  seat = NOWHERE;
  readonly connection: HttpServerConnection;

  constructor(connection: HttpServerConnection) {
    this.connection = connection;
  }
}

/** The HTTP connections of a thread, for its end. */
export class HttpConnections {
  readonly #open = new Roster<OpenHttpConnection>();
  #draining = false;

  /** Each connection ends in order: after the requests that are on it, or with the answer to the next one. */
  drain(): void {
    this.#draining = true;
    for (const { connection } of this.#open.all()) connection.drain();
  }

  /** @returns what delete() takes. */
  add(connection: HttpServerConnection): OpenHttpConnection {
    const open = new OpenHttpConnection(connection);
    this.#open.add(open);
    if (this.#draining) connection.drain();
    return open;
  }

  delete(open: OpenHttpConnection): void {
    this.#open.delete(open);
  }
}

/** What serves requests. */
export type HttpParts = Readonly<{
  steps: RequestParts;
  connections: HttpConnections;
  server?: HttpServerOptions;
}>;

/** Who called, for what, and who holds the connection. */
export type ServedConnection = Readonly<{
  facts: Omit<DownstreamFacts, 'version'>;
  live: Pick<LiveConnection, 'hold' | 'done'>;
}>;

/**
 * Serves the requests of an accepted connection until it ends.
 *
 * @param version as serveHttp().
 */
export function serveHttpConnection(
  stream: ByteStream,
  version: 'http2' | 'prefer-http2' | 'detect',
  { facts, live }: ServedConnection,
  parts: HttpParts,
): void {
  const byVersion = new Map<HttpVersion, Downstream>();
  const downstreamOf = (spoken: HttpVersion): Downstream => {
    let downstream = byVersion.get(spoken);
    if (downstream === undefined)
      byVersion.set(spoken, (downstream = new Downstream({ ...facts, version: spoken })));
    return downstream;
  };
  const { steps, connections, server = {} } = parts;
  const open: { connection?: OpenHttpConnection } = {};
  const connection = serveHttp(stream, version, server, {
    onRequest(exchange, headers, endStream) {
      const spoken = exchange instanceof Http2Stream ? 'HTTP/2' : 'HTTP/1.1';
      void serveRequest(exchange, headers, endStream, downstreamOf(spoken), steps);
    },
    onClose() {
      if (open.connection !== undefined) connections.delete(open.connection);
      live.done();
    },
  });
  open.connection = connections.add(connection);
  live.hold(() => {
    connection.close();
  });
}
