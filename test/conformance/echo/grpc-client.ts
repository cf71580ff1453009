import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { GRPC_METHOD, type Echo, type EchoAnswer, type Fields } from './messages.ts';

/** A channel to a gRPC server; `close()` it in the end. */
export function openGrpc(
  url: URL,
  headers: Fields,
  timeoutMs: number,
): Readonly<{ send: () => Promise<EchoAnswer>; close: () => void }> {
  const host = headers.find(([name]) => name === 'host')?.[1];
  const client = new Client(
    url.port === '' ? `${url.hostname}:80` : url.host,
    credentials.createInsecure(),
    host === undefined ? {} : { 'grpc.default_authority': host },
  );
  const bytes = (message: Buffer): Buffer => message;
  const method = url.pathname.length > 1 ? url.pathname : GRPC_METHOD;
  return {
    send: () => {
      const metadata = new Metadata();
      for (const [name, value] of headers) if (name !== 'host') metadata.add(name, value);
      const { promise, resolve } = Promise.withResolvers<EchoAnswer>();
      const fields: [string, string][] = [];
      const collect = (received: Metadata): void => {
        for (const name of Object.keys(received.getMap()))
          for (const value of received.get(name)) fields.push([name, value.toString()]);
      };
      const done = (error: ServiceError | null, message?: Buffer): void => {
        const answer = { status: 200, headers: fields, grpcStatus: error?.code ?? 0 };
        if (message === undefined) resolve({ ...answer, text: error?.details ?? '' });
        else resolve({ ...answer, echo: JSON.parse(message.toString()) as Echo });
      };
      const options = { deadline: Date.now() + timeoutMs };
      client
        .makeUnaryRequest(method, bytes, bytes, Buffer.from('{}'), metadata, options, done)
        .on('metadata', collect);
      return promise;
    },
    close: () => {
      client.close();
    },
  };
}
