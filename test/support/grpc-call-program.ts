import { Client, credentials, type ServiceError } from '@grpc/grpc-js';

/* grpc-call-program.ts ADDRESS PATH: one call by a client that others wrote; prints how long the answer's message is. */

const [address = '', path = ''] = process.argv.slice(2);
const client = new Client(address, credentials.createInsecure());
const same = (bytes: Buffer): Buffer => bytes;
const onAnswer = (error: ServiceError | null, answer?: Buffer): void => {
  client.close();
  if (error !== null) throw error;
  process.stdout.write(String(answer?.length ?? 0));
};
client.makeUnaryRequest(path, same, same, Buffer.from('question'), onAnswer);
