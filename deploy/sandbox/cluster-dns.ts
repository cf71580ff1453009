import { createSocket } from 'node:dgram';
import { createServer as createHttpServer, request } from 'node:http';
import { createServer as createTcpServer, type Socket } from 'node:net';
import { describeError } from '../../base/errors.ts';
import { familyOf } from '../../base/address.ts';
import { listenOnUnixSocket } from '../../mesh/admin/unix-listen.ts';
import { answerLimitBytes, encodeAnswer, encodeBareError } from '../../mesh/dns/encode.ts';
import { CLASS_IN, decodeQuery, RCODE, TYPE } from '../../mesh/dns/message.ts';
import type { KubernetesObject } from './api.ts';
import { hasIpv6 } from './networks.ts';
import { buildZone, type DnsZone } from './dns-zone.ts';

/*
 * Cluster DNS: answers for the Services of the sandbox, on UDP and TCP, and forwards nothing. It runs in the control
 * plane's namespace and learns the names by a watch of the sandbox's control API.
 */
const DOMAIN = 'cluster.local';
const TTL_SECONDS = 5;
const RECONNECT_MS = 200;
const HEADER_BYTES = 12;
/** Queries of one TCP client; each is answered at once, so a client needs few. */
const TCP_IDLE_MS = 10_000;
const MAX_TCP_CLIENTS = 256;

let zone: DnsZone = new Map();
let synced = false;

function watchZone(controlSocket: string): void {
  const services = new Map<string, KubernetesObject>();
  const slices = new Map<string, KubernetesObject>();
  let whole = false;
  const asked = request({
    socketPath: controlSocket,
    path: '/v1/watch?kind=Service&kind=EndpointSlice',
    agent: false,
  });
  asked.on('response', (response) => {
    let rest = '';
    response.setEncoding('utf8').on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        const event = JSON.parse(line) as { type: string; object: KubernetesObject };
        if (event.type === 'BOOKMARK') {
          whole = true;
          continue;
        }
        const map = event.object.kind === 'Service' ? services : slices;
        const { uid = '' } = event.object.metadata;
        if (event.type === 'DELETED') map.delete(uid);
        else map.set(uid, event.object);
      }
      if (!whole) return;
      zone = buildZone(services.values(), slices.values());
      synced = true;
    });
    response.on('error', () => undefined); // 'close' follows
  });
  asked.on('error', (error) => {
    console.error(`cannot watch Services: ${describeError(error)}`);
  });
  asked.on('close', () => {
    setTimeout(() => {
      watchZone(controlSocket);
    }, RECONNECT_MS);
  });
  asked.end();
}

/** The answer to a message, or undefined where none is due. */
function answer(message: Buffer, transport: 'udp' | 'tcp'): Buffer | undefined {
  if (message.length < HEADER_BYTES) return undefined;
  let query;
  try {
    query = decodeQuery(message);
  } catch {
    // An answer to an answer would be a loop.
    const isResponse = (message.readUInt16BE(2) & 0x8000) !== 0;
    return isResponse ? undefined : encodeBareError(message, RCODE.formErr);
  }
  const limit = answerLimitBytes(query, transport);
  const { question } = query;
  if (query.opcode !== 0) return encodeAnswer(query, { rcode: RCODE.notImp }, limit);
  const name = question.name.text;
  if (question.class !== CLASS_IN || (name !== DOMAIN && !name.endsWith(`.${DOMAIN}`)))
    return encodeAnswer(query, { rcode: RCODE.nxDomain, authoritative: false }, limit);
  const ips = zone.get(name);
  if (ips === undefined)
    return encodeAnswer(query, { rcode: RCODE.nxDomain, authoritative: true }, limit);
  const family = question.type === TYPE.A ? 4 : question.type === TYPE.AAAA ? 6 : undefined;
  const records = ips
    .filter((ip) => familyOf(ip) === family)
    .map((ip) => ({ kind: 'address', ip }) as const);
  const known = { rcode: RCODE.ok, authoritative: true, ttlSeconds: TTL_SECONDS, records };
  return encodeAnswer(query, known, limit);
}

function serveUdp(): void {
  const ipv6 = hasIpv6();
  const socket = createSocket({ type: ipv6 ? 'udp6' : 'udp4', ipv6Only: false });
  socket.on('message', (message, from) => {
    const bytes = answer(message, 'udp');
    if (bytes !== undefined) socket.send(bytes, from.port, from.address, () => undefined);
  });
  socket.on('error', fail);
  socket.bind(53, ipv6 ? '::' : '0.0.0.0');
}

function serveTcp(): void {
  const server = createTcpServer((client: Socket) => {
    let rest = Buffer.alloc(0);
    client.setTimeout(TCP_IDLE_MS, () => client.destroy());
    client.on('error', () => undefined); // the client has gone
    client.on('data', (chunk: Buffer) => {
      rest = Buffer.concat([rest, chunk]);
      while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
        const length = rest.readUInt16BE(0);
        const bytes = answer(rest.subarray(2, 2 + length), 'tcp');
        rest = rest.subarray(2 + length);
        if (bytes === undefined) {
          client.destroy();
          return;
        }
        const prefix = Buffer.alloc(2);
        prefix.writeUInt16BE(bytes.length);
        client.write(Buffer.concat([prefix, bytes]));
      }
    });
  });
  server.maxConnections = MAX_TCP_CLIENTS;
  server.on('error', fail);
  server.listen(53);
}

function fail(error: unknown): void {
  console.error(`cannot serve DNS: ${describeError(error)}`);
  process.exit(1);
}

const { HALO_CONTROL_UDS: controlSocket = '', ADMIN_UDS: adminSocket = '' } = process.env;
watchZone(controlSocket);
serveUdp();
serveTcp();
const pages = createHttpServer((asked, response) => {
  response.writeHead(asked.url === '/ready' && synced ? 200 : 503);
  response.end(synced ? 'ready\n' : 'the names are not known yet\n');
});
// One that was killed has left its socket there.
listenOnUnixSocket(pages, adminSocket).catch(fail);
process.once('SIGTERM', () => process.exit(0));
