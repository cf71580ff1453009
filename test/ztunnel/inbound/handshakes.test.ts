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
import { expectNoLeak, openDescriptors } from '../../support/memory.ts';
import { quietLogs } from '../../support/quiet-log.ts';
import { TestNode, type TestPod } from '../../support/ztunnel-pods.ts';

const HANDSHAKES = 20_000;
const AT_ONCE = 50;
/** One in so many is done; the others are given up by the client, or by us for what it sent. */
const WHOLE_ONE_IN = 20;
/** Less than a listener or a reference to one takes. */
const LEAST_LEAK_BYTES = 52;

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
  const listeners = (): number =>
    pod === undefined ? -1 : getEventListeners(pod.gone, 'abort').length;

  const run = async (times: number): Promise<void> => {
    for (let done = 0; done < times; done += AT_ONCE)
      await Promise.all(
        Array.from({ length: AT_ONCE }, (_, index) => begin(client, server, context, done + index)),
      );
    await node.until(() => openDescriptors() <= descriptors);
  };
  await begin(client, server, context, 0); // the pod has its certificate
  const before = listeners();
  await expectNoLeak(t, run, { times: HANDSHAKES / 2, flatBytes: LEAST_LEAK_BYTES });
  t.is(listeners(), before);
});
