import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import type { TcpRoute } from '../../../mesh/model/http-route.ts';
import type { Service, ServiceKey } from '../../../mesh/model/service.ts';
import { ProxyState } from '../../../mesh/proxy/state/store.ts';
import { bindUdp } from '../../../net/udp.ts';
import { UdpForwarder } from '../../../waypoint/gateway/udp-forwarder.ts';
import { makeService } from '../../support/workloads.ts';

const LOCAL = parseIpAddress('127.0.0.1');

/** Answers each datagram with its name and what it got. */
async function backend(t: ExecutionContext, name: string): Promise<number> {
  const socket = createSocket('udp4');
  socket.on('message', (bytes: Buffer, from: RemoteInfo) => {
    socket.send(`${name} ${bytes.toString()}`, from.port, from.address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  t.teardown(() => socket.close());
  return socket.address().port;
}

function routeTo(...ports: readonly number[]): TcpRoute {
  return {
    name: 'UDPRoute/shop/r/0',
    backends: ports.map((port) => ({ target: { service: KEY, port }, weight: 1 })),
  };
}

const service: Service = makeService({ name: 'web', vips: ['127.0.0.1'] });
const KEY = `${service.namespace}/${service.hostname}` as ServiceKey;

function forwarder(
  t: ExecutionContext,
  route: () => TcpRoute | undefined,
  random: () => number = () => 0,
): number {
  const state = new ProxyState();
  state.setService(service);
  const probe = bindUdp({ local: { ip: LOCAL, port: 0 } });
  const made = new UdpForwarder(probe, { state, route, random, now: () => performance.now() });
  t.teardown(() => {
    made.close();
  });
  return made.port;
}

function client(t: ExecutionContext): Socket {
  const socket = createSocket('udp4');
  t.teardown(() => socket.close());
  return socket;
}

async function ask(socket: Socket, port: number, text: string): Promise<string> {
  socket.send(text, port, '127.0.0.1');
  const [bytes] = (await once(socket, 'message', { signal: AbortSignal.timeout(5000) })) as [
    Buffer,
  ];
  return bytes.toString();
}

test('a UdpForwarder brings datagrams to a backend, and its answers to the client that asked', async (t) => {
  const to = routeTo(await backend(t, 'web'));
  const port = forwarder(t, () => to);
  const [one, other] = [client(t), client(t)];
  t.is(await ask(one, port, 'first'), 'web first');
  t.deepEqual(await Promise.all([ask(one, port, 'mine'), ask(other, port, 'yours')]), [
    ...['web mine', 'web yours'],
  ]);
});

test('a client of a UdpForwarder stays at its backend, and new ones are spread by weight', async (t) => {
  const to = routeTo(await backend(t, 'a'), await backend(t, 'b'));
  const draws = [0.1, 0.9, 0.9];
  const port = forwarder(
    t,
    () => to,
    () => draws.shift() ?? 0,
  );
  const [one, other] = [client(t), client(t)];
  t.is(await ask(one, port, '1'), 'a 1');
  t.is(await ask(other, port, '2'), 'b 2');
  t.is(await ask(one, port, '3'), 'a 3');
});

test('a UdpForwarder loses what goes nowhere, and goes on with what a route says next', async (t) => {
  const to = routeTo(await backend(t, 'web'));
  const unusable = { name: 'r', backends: [{ problem: 'nothing is there', weight: 1 }] };
  const told = [undefined, unusable, to];
  const port = forwarder(t, () => told.shift());
  const socket = client(t);
  for (const text of ['lost', 'lost too']) socket.send(text, port, '127.0.0.1');
  t.is(await ask(socket, port, 'kept'), 'web kept');
  t.is(told.length, 0);
});
