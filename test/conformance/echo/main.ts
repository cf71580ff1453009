/*
 * The program of the echo pods, in the role of the conformance suite's image echo-advanced. All of it stands on Node's
 * own HTTP and on grpc-js: it is a peer that shares no code with the mesh.
 *
 *   main.ts --port=8080 --tls=8443 --tcp=9090 --grpc=7070 --crt=FILE --key=FILE    serves
 *   main.ts client '[{"url":"http://echo/"}]'                                      makes requests, and prints the answers
 */
import { parseArgs } from 'node:util';

const [first, second = '[]'] = process.argv.slice(2);
if (first === 'client') {
  const { sendAll } = await import('./client.ts');
  const requests = JSON.parse(second) as Parameters<typeof sendAll>[0];
  process.stdout.write(JSON.stringify(await sendAll(requests)));
} else {
  const { serveEcho } = await import('./server.ts');
  const port = (value: string): { type: 'string'; default: string } => ({
    type: 'string',
    default: value,
  });
  const { values } = parseArgs({
    options: {
      ...{ port: port('8080'), tls: port('8443'), tcp: port('9090'), grpc: port('7070') },
      ...{ h2c: port('3001'), udp: port('9091'), grpcs: port('7443') },
      ...{ crt: { type: 'string', default: '' }, key: { type: 'string', default: '' } },
    },
  });
  await serveEcho({
    ...{ http: Number(values.port), https: Number(values.tls) },
    ...{ tcp: Number(values.tcp), grpc: Number(values.grpc), h2c: Number(values.h2c) },
    ...{ udp: Number(values.udp), grpcs: Number(values.grpcs) },
    ...{ certificate: values.crt, key: values.key },
  });
}
