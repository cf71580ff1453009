import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { hostname } from 'node:os';
import { parseArgs } from 'node:util';

/*
 * halo/echo: says who called and what was said.
 *   HTTP on --port (8080): every request is answered with the request as text; `?status=503` and `?delay=200` (ms) as asked.
 *     `?always=503` makes all later ones fail so, with `&every=3` each third of them; `?always=200` ends that.
 *   TCP on --tcp-port (9000): every byte comes back; --greeting sends a line first, as server-first protocols do.
 */
const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '8080' },
    'tcp-port': { type: 'string', default: '9000' },
    greeting: { type: 'string' },
    version: { type: 'string', default: process.env['VERSION'] ?? '' },
  },
});
const me = process.env['POD_NAME'] ?? hostname();

/** What later requests are answered with. */
let always = { status: 200, every: 1 };
let asked = 0;

function statusFor(parameters: URLSearchParams): number {
  if (!parameters.has('always'))
    return Number(parameters.get('status')) || (++asked % always.every === 0 ? always.status : 200);
  always = {
    status: Number(parameters.get('always')) || 200,
    every: Number(parameters.get('every')) || 1,
  };
  return 200;
}

const http = createServer((request, response) => {
  const url = new URL(request.url ?? '/', 'http://echo');
  const caller = callerOf(request.socket);
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const headers = Object.entries(request.headers).map(
      ([name, value]) => `${name}: ${String(value)}`,
    );
    const lines = [
      `served-by: ${me}`,
      ...(values.version === '' ? [] : [`version: ${values.version}`]),
      `called-by: ${caller}`,
      `request: ${request.method} ${request.url}`,
      ...headers,
      '',
      Buffer.concat(chunks).toString(),
    ];
    const delayMs = Math.min(60_000, Number(url.searchParams.get('delay')) || 0);
    setTimeout(() => {
      const status = statusFor(url.searchParams);
      response.writeHead(status, { 'content-type': 'text/plain', 'x-served-by': me });
      response.end(`${lines.join('\n')}\n`);
      console.log(`${request.method} ${request.url} ${status} from ${caller}`);
    }, delayMs);
  });
});

const tcp = createTcpServer({ allowHalfOpen: true }, (socket) => {
  socket.on('error', () => undefined); // the caller went away
  console.log(`tcp from ${callerOf(socket)}`);
  if (values.greeting !== undefined) socket.write(`${values.greeting} ${me}\n`);
  socket.pipe(socket);
});

http.listen(Number(values.port));
tcp.listen(Number(values['tcp-port']));
console.log(`echo ${me}: HTTP on ${values.port}, TCP on ${values['tcp-port']}`);
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.once(signal, () => {
    http.close();
    tcp.close();
    http.closeIdleConnections();
    setTimeout(() => process.exit(0), 500).unref();
  });

function callerOf(socket: {
  remoteAddress?: string | undefined;
  remotePort?: number | undefined;
}): string {
  const address = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
  return address.includes(':')
    ? `[${address}]:${socket.remotePort}`
    : `${address}:${socket.remotePort}`;
}
