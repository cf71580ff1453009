import { getEventListeners } from 'node:events';
import test from 'ava';
import { socketAddress } from '../../../base/address.ts';
import { HBONE_PORT } from '../../../mesh/model/ports.ts';
import { Metrics } from '../../../mesh/runtime/metrics.ts';
import { connectTcp } from '../../../net/tcp.ts';
import { connectTls } from '../../../net/tls.ts';
import { TlsContext } from '../../../net/tls-context.ts';
import { HandshakeAdmission } from '../../../mesh/proxy/handshake-admission.ts';
import { Collector } from '../../support/collect.ts';
import { CLIENT } from '../../support/hbone-peer.ts';
import { collectGarbage, openDescriptors } from '../../support/memory.ts';
import { quietLogs } from '../../support/quiet-log.ts';
import { TestNode, type TestPod } from '../../support/ztunnel-pods.ts';

const HANDSHAKES = 20_000;
const AT_ONCE = 50;
/** The first part lets pools and caches grow to what they need. */
const WARM_UP = 2_000;
/** One in so many is done; the others are given up by the client, or by us for what it sent. */
const WHOLE_ONE_IN = 20;
/** 52 bytes a handshake: less than a listener or a reference to one takes. */
const MOST_HEAP_BYTES = 1 << 20;

/** Shakes hands, or does not. */
async function begin(
  client: TestPod,
  server: TestPod,
  context: TlsContext,
  index: number,
): Promise<void> {
  const to = socketAddress(server.ip, HBONE_PORT);
  const socket = await connectTcp(to, { netns: client.netns });
  if (index % WHOLE_ONE_IN === 0) {
    const session = await connectTls(socket, context);
    session.reset();
    return;
  }
  const attacker = new Collector(socket);
  if (index % 2 === 0) await attacker.write('no ClientHello');
  else socket.end();
  await attacker.until(({ ended, error }) => ended || error !== undefined);
  socket.reset();
}

test.serial('20,000 handshakes leave nothing with a pod that lives on', async (t) => {
  let seconds = 0; // each has the budget of a second
  const node = await TestNode.open(t, {
    ...quietLogs(),
    handshakes: new HandshakeAdmission(new Metrics(), () => 1000 * seconds++),
  });
  const client = node.addPlain({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  using context = new TlsContext(node.ca.issue(CLIENT));
  const [pod] = node.pods.contexts();
  const descriptors = openDescriptors();
  const left = async (): Promise<{ listeners: number; heapBytes: number }> => {
    await node.until(() => openDescriptors() <= descriptors);
    for (let round = 0; round < 3; round++) await collectGarbage();
    const listeners = pod === undefined ? -1 : getEventListeners(pod.gone, 'abort').length;
    return { listeners, heapBytes: process.memoryUsage().heapUsed };
  };

  let done = 0;
  const run = async (until: number): Promise<void> => {
    for (; done < until; done += AT_ONCE)
      await Promise.all(
        Array.from({ length: AT_ONCE }, (_, index) => begin(client, server, context, done + index)),
      );
  };
  await begin(client, server, context, 0); // the pod has its certificate
  await run(WARM_UP);
  const before = await left();
  await run(WARM_UP + HANDSHAKES);
  const after = await left();
  t.log(`${after.heapBytes - before.heapBytes} bytes more in the heap`);
  t.is(after.listeners, before.listeners);
  t.true(after.heapBytes - before.heapBytes < MOST_HEAP_BYTES);
});
