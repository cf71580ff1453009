import { createHash } from 'node:crypto';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { hostname } from 'node:os';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { resetSocket } from '../../base/reset-socket.ts';
import { HeldSocket, numberedBlocks, textOf } from './peer-socket.ts';
import { TaggedLoad } from './tagged-load.ts';
import { TaggedServer } from './tagged-server.ts';
import type {
  PeerConnection,
  PeerLine,
  PeerOperation,
  PeerOperations,
  PeerRequest,
} from './peer-protocol.ts';

/*
 * The scripted peer of the scenarios: peer-program.ts HUB [NAME]
 * It runs as the process of a pod, connects to the unix socket HUB of the test, and does what it is told.
 */

type Operations = {
  [Op in PeerOperation]: (
    ask: PeerOperations[Op]['ask'],
  ) => PeerOperations[Op]['answer'] | Promise<PeerOperations[Op]['answer']>;
};

type Listener = Readonly<{ server: Server; waiting: HeldSocket[]; events: EventTarget }>;

const [hubPath = '', givenName] = process.argv.slice(2);
const name = givenName ?? `${process.env['POD_NAMESPACE'] ?? 'default'}/${hostname()}`;
const listeners = new Map<number, Listener>();
const held = new Map<number, HeldSocket>();
const groups = new Map<number, HeldSocket[]>();
const udpSockets: UdpSocket[] = [];
const taggedServers: TaggedServer[] = [];
const loads = new Map<string, TaggedLoad>();
let lastHandle = 0;

const operations: Operations = {
  async listen({ port, host = '::', mode, greeting }) {
    const listener: Listener = {
      server: createServer({ allowHalfOpen: true, pauseOnConnect: mode === 'queue' }),
      waiting: [],
      events: new EventTarget(),
    };
    listener.server.on('connection', (socket: Socket) => {
      socket.on('error', () => undefined); // the caller went away
      socket.setNoDelay(true);
      if (greeting !== undefined) socket.write(greeting);
      if (mode === 'echo') socket.pipe(socket);
      if (mode === 'drop') socket.resume().on('end', () => socket.end());
      if (mode !== 'queue') return;
      listener.waiting.push(new HeldSocket(socket));
      listener.events.dispatchEvent(new Event('connection'));
    });
    listener.server.listen({ port, host, backlog: 2048 });
    await once(listener.server, 'listening');
    const address = listener.server.address();
    const bound = typeof address === 'object' && address !== null ? address.port : port;
    listeners.set(bound, listener);
    return { port: bound };
  },

  unlisten({ port }) {
    listenerOn(port).server.close();
    listeners.delete(port);
    return {};
  },

  async accept({ port }) {
    const { waiting, events } = listenerOn(port);
    for (;;) {
      const next = waiting.shift();
      if (next !== undefined) return hold(next);
      await once(events, 'connection');
    }
  },

  async connect({ host, port, from, family = 0 }) {
    const local = from === undefined ? {} : { localAddress: from };
    const socket = connect({ host, port, family, ...local, allowHalfOpen: true });
    socket.setNoDelay(true);
    const connection = new HeldSocket(socket);
    await once(socket, 'connect');
    return hold(connection);
  },

  async write({ handle, text }) {
    await socketOf(handle).write(Buffer.from(text));
    return {};
  },

  async read({ handle, bytes }) {
    const connection = socketOf(handle);
    const text = (await connection.read(bytes)).toString();
    return { text, ...(connection.ended !== undefined && { ended: connection.ended }) };
  },

  end({ handle }) {
    socketOf(handle).socket.end();
    return {};
  },

  reset({ handle }) {
    resetSocket(socketOf(handle).socket);
    return {};
  },

  async ended({ handle }) {
    const connection = socketOf(handle);
    const text = (await connection.read(Number.POSITIVE_INFINITY)).toString();
    return { how: connection.ended ?? '', text };
  },

  async send({ handle, bytes }) {
    const connection = socketOf(handle);
    const hash = createHash('sha256');
    for (const block of numberedBlocks(bytes)) {
      hash.update(block);
      await connection.write(block);
    }
    return { bytes, sha256: hash.digest('hex') };
  },

  async receive({ handle, bytes }) {
    const connection = socketOf(handle);
    const hash = createHash('sha256');
    const received = await connection.readInto(bytes, (chunk) => hash.update(chunk));
    const sum = { bytes: received, sha256: hash.digest('hex') };
    return { ...sum, ...(connection.ended !== undefined && { ended: connection.ended }) };
  },

  async openMany({ host, port, count, withinMs }) {
    const group = Array.from({ length: count }, () => {
      const socket = connect({ host, port, allowHalfOpen: true });
      socket.setNoDelay(true);
      return new HeldSocket(socket);
    });
    lastHandle += 1;
    groups.set(lastHandle, group);
    return { group: lastHandle, ...(await echoAll(group, withinMs)) };
  },

  echoMany: ({ group }) => echoAll(groupOf(group)),

  async endMany({ group }) {
    const endings = groupOf(group).map(async (connection) => {
      connection.socket.end();
      await connection.read(Number.POSITIVE_INFINITY);
      return connection.ended;
    });
    groups.delete(group);
    return { ended: (await Promise.all(endings)).filter((how) => how === 'end').length };
  },

  resetMany({ group }) {
    for (const { socket } of groupOf(group)) resetSocket(socket);
    groups.delete(group);
    return {};
  },

  async udpEcho({ port }) {
    const socket = createSocket({ type: 'udp6', ipv6Only: false });
    socket.on('message', (message, { address, port: from }) => {
      socket.send(`${textOf(address, from)}|${message.toString()}`, from, address);
    });
    socket.bind(port);
    await once(socket, 'listening');
    udpSockets.push(socket);
    return {};
  },

  async udpAsk({ host, port, text }) {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    try {
      socket.connect(port, host); // so that a refusal by ICMP is heard
      await once(socket, 'connect');
      socket.send(text);
      const [message, { address, port: from }] = (await once(socket, 'message')) as [
        Buffer,
        { address: string; port: number },
      ];
      return { text: message.toString(), from: textOf(address, from) };
    } finally {
      socket.close();
    }
  },

  udpSend({ host, port, text }) {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    return new Promise((resolve, reject) => {
      socket.send(text, port, host, (error) => {
        socket.close();
        if (error === null) resolve({});
        else reject(error);
      });
    });
  },

  self: () => ({ pid: process.pid }),

  async serveTagged({ port, name: own, refused, callers = [], httpPort }) {
    const tagged = new TaggedServer(own, refused, callers);
    tagged.server.listen({ port, host: '::', backlog: 2048 });
    await once(tagged.server, 'listening');
    if (httpPort !== undefined) {
      tagged.httpServer.listen({ port: httpPort, host: '::', backlog: 2048 });
      await once(tagged.httpServer, 'listening');
    }
    taggedServers.push(tagged);
    return {};
  },

  async forward({ port, host, toPort }) {
    const server = createServer({ allowHalfOpen: true }, (client) => {
      const next = connect({ host, port: toPort, allowHalfOpen: true });
      for (const [one, other] of [
        [client, next],
        [next, client],
      ] as const) {
        one.on('error', () => {
          resetSocket(other);
        });
        one.pipe(other);
      }
    });
    server.listen({ port, host: '::', backlog: 2048 });
    await once(server, 'listening');
    return {};
  },

  takeServed() {
    const reports = taggedServers.map((tagged) => tagged.take());
    return {
      complete: reports.reduce((sum, { complete }) => sum + complete, 0),
      broken: reports.reduce((sum, { broken }) => sum + broken, 0),
      wrong: reports.flatMap(({ wrong }) => wrong),
    };
  },

  load({ source, task }) {
    loads.set(task.name, new TaggedLoad(source, task));
    return {};
  },

  takeLoad: ({ name: load }) => loadOf(load).take(),

  resumeLoad({ name: load }) {
    loadOf(load).resume();
    return {};
  },

  async stopLoad({ name: load, graceMs }) {
    const stopped = loadOf(load);
    await stopped.stop(graceMs);
    loads.delete(load);
    return stopped.take();
  },

  async lookup({ name: host, family = 0 }) {
    const found = await lookup(host, { all: true, family });
    return { addresses: found.map(({ address }) => address) };
  },
};

/** Each says its own text; who got it back, and what went wrong with the others. */
async function echoAll(
  group: readonly HeldSocket[],
  withinMs?: number,
): Promise<{ echoed: number; failures: string[] }> {
  const failures: string[] = [];
  const echoes = group.map(async (connection, index) => {
    const text = `${index}:${crypto.randomUUID()};`;
    await connection.write(Buffer.from(text));
    const back = (await connection.read(text.length)).toString();
    if (back !== text) throw new Error(`${connection.ended ?? 'other text'} after ${back.length}`);
  });
  let echoed = 0;
  const late = withinMs === undefined ? [] : [delay(withinMs).then(() => fail('no answer yet'))];
  const judged = echoes.map((echo) => Promise.race([echo, ...late]));
  for (const echo of await Promise.allSettled(judged))
    if (echo.status === 'fulfilled') echoed++;
    else if (failures.length < 10) failures.push(String(echo.reason));
  return { echoed, failures };
}

function fail(what: string): never {
  throw new Error(what);
}

function hold(connection: HeldSocket): PeerConnection {
  lastHandle += 1;
  held.set(lastHandle, connection);
  return { handle: lastHandle, local: connection.local, remote: connection.remote };
}

function socketOf(handle: number): HeldSocket {
  const found = held.get(handle);
  if (found === undefined) throw new Error(`no connection ${handle}`);
  return found;
}

function groupOf(group: number): readonly HeldSocket[] {
  const found = groups.get(group);
  if (found === undefined) throw new Error(`no group ${group}`);
  return found;
}

function loadOf(load: string): TaggedLoad {
  const found = loads.get(load);
  if (found === undefined) throw new Error(`no load ${load}`);
  return found;
}

function listenerOn(port: number): Listener {
  const found = listeners.get(port);
  if (found === undefined) throw new Error(`nothing listens on ${port}`);
  return found;
}

const hub = connect(hubPath);
hub.on('error', () => process.exit(1)); // the test has gone
hub.on('close', () => process.exit(0));
const say = (line: PeerLine): void => {
  hub.write(`${JSON.stringify(line)}\n`);
};

async function serve({ id, op, ask }: PeerRequest): Promise<void> {
  try {
    const operation = operations[op] as (given: unknown) => unknown;
    say({ id, answer: await operation(ask) });
  } catch (error) {
    const { message } = error as Error;
    say({ id, error: { code: (error as NodeJS.ErrnoException).code ?? 'ERROR', message } });
  }
}

process.on('SIGTERM', () => process.exit(0));
hub.on('connect', () => {
  console.log(`peer ${name}: ready`);
  say({ hello: name });
});
createInterface({ input: hub }).on('line', (line) => void serve(JSON.parse(line) as PeerRequest));
