import { EventEmitter, once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { ExecutionContext } from 'ava';
import { BinaryReader, WireType } from '@bufbuild/protobuf/wire';

/** A span as it was on the wire. */
export type CollectedSpan = Readonly<{
  traceId: string;
  spanId: string;
  parentId: string;
  traceState: string;
  name: string;
  kind: number;
  startNs: bigint;
  endNs: bigint;
  status: number;
  attributes: ReadonlyMap<string, string>;
  resource: ReadonlyMap<string, string>;
}>;

/** The fields of a message: by number, each as it is on the wire. opentelemetry-proto, trace/v1/trace.proto. */
type Fields = ReadonlyMap<number, readonly (Uint8Array | bigint)[]>;

/** An OTLP collector of spans, over HTTP. */
export class OtlpCollector {
  readonly spans: CollectedSpan[] = [];
  /** `<method> <path> <content-type>` of what came. */
  readonly requests: string[] = [];
  /** What is answered. */
  status = 200;
  readonly endpoint: string;
  readonly #events = new EventEmitter();

  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on('request', (request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { method = '', url = '', headers } = request;
        this.requests.push(`${method} ${url} ${headers['content-type'] ?? ''}`);
        if (this.status === 200) this.spans.push(...decode(Buffer.concat(chunks)));
        response.writeHead(this.status).end();
        this.#events.emit('request');
      });
    });
  }

  /** On loopback, until the test ends. */
  static async listen(t: ExecutionContext): Promise<OtlpCollector> {
    const collector = await OtlpCollector.open(0, '127.0.0.1');
    t.teardown(() => {
      collector.close();
    });
    return collector;
  }

  static async open(port: number, host: string): Promise<OtlpCollector> {
    const server = createServer();
    server.listen(port, host);
    await once(server, 'listening');
    return new OtlpCollector(server);
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  /** The first spans, as soon as there are so many. */
  async collected(count: number): Promise<readonly CollectedSpan[]> {
    while (this.spans.length < count) await once(this.#events, 'request');
    return this.spans;
  }

  async asked(count: number): Promise<void> {
    while (this.requests.length < count) await once(this.#events, 'request');
  }
}

function decode(body: Uint8Array): CollectedSpan[] {
  return messages(fieldsOf(body), 1).flatMap((resourceSpans) => {
    const [resource] = messages(resourceSpans, 1);
    const attributes = attributesOf(resource ?? new Map(), 1);
    return messages(resourceSpans, 2)
      .flatMap((scope) => messages(scope, 2))
      .map((span) => decodeSpan(span, attributes));
  });
}

function decodeSpan(span: Fields, resource: ReadonlyMap<string, string>): CollectedSpan {
  const hex = (field: number): string => Buffer.from(bytes(span, field)).toString('hex');
  const [status] = messages(span, 15);
  return {
    ...{ traceId: hex(1), spanId: hex(2), parentId: hex(4) },
    ...{ traceState: text(span, 3), name: text(span, 5), kind: Number(number(span, 6)) },
    ...{ startNs: number(span, 7), endNs: number(span, 8), attributes: attributesOf(span, 9) },
    status: status === undefined ? 0 : Number(number(status, 3)),
    resource,
  };
}

function attributesOf(of: Fields, field: number): Map<string, string> {
  return new Map(
    messages(of, field).map((pair) => {
      const [value] = messages(pair, 2);
      return [text(pair, 1), value === undefined ? '' : text(value, 1)] as const;
    }),
  );
}

function fieldsOf(message: Uint8Array): Fields {
  const fields = new Map<number, (Uint8Array | bigint)[]>();
  const reader = new BinaryReader(message);
  while (reader.pos < reader.len) {
    const [field, wire] = reader.tag();
    const value = fields.get(field) ?? [];
    fields.set(field, value);
    if (wire === WireType.Varint) value.push(BigInt(reader.uint64()));
    else if (wire === WireType.Bit64) value.push(BigInt(reader.fixed64()));
    else if (wire === WireType.LengthDelimited) value.push(reader.bytes());
    else reader.skip(wire);
  }
  return fields;
}

function messages(fields: Fields, field: number): Fields[] {
  return (fields.get(field) ?? []).flatMap((value) =>
    value instanceof Uint8Array ? [fieldsOf(value)] : [],
  );
}

function bytes(fields: Fields, field: number): Uint8Array {
  const value = fields.get(field)?.[0];
  return value instanceof Uint8Array ? value : new Uint8Array();
}

function text(fields: Fields, field: number): string {
  return Buffer.from(bytes(fields, field)).toString('utf8');
}

function number(fields: Fields, field: number): bigint {
  const value = fields.get(field)?.[0];
  return typeof value === 'bigint' ? value : 0n;
}
