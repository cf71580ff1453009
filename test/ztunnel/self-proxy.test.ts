import test from 'ava';
import { parseIpAddress, socketAddress } from '../../base/address.ts';
import { openTunnel } from '../../mesh/hbone/client.ts';
import { HboneSession } from '../../mesh/hbone/session.ts';
import type { SpiffeId } from '../../mesh/model/identity.ts';
import { DEFAULT_TRUST_DOMAIN } from '../../mesh/model/identity.ts';
import { bindListener } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { TlsContext } from '../../net/tls-context.ts';
import { SelfProxy } from '../../ztunnel/self-proxy.ts';
import { Collector } from '../support/collect.ts';
import { makePolicy } from '../support/policies.ts';
import { makeWorkload } from '../support/workloads.ts';
import { TestNode } from '../support/ztunnel-pods.ts';

test("the proxy's own metrics are reached over mTLS, by policy, and nothing else of the node is", async (t) => {
  const node = await TestNode.open(t);
  const ip = parseIpAddress('127.0.0.1');
  const listen = (answer: string): number => {
    const listener = listenTcp({ address: { ip, port: 0 } }, (stream) => {
      const app = new Collector(stream);
      void app.write(answer).then(() => {
        stream.end();
      });
      void app.until((c) => c.ended);
    });
    t.teardown(() => {
      listener.close();
    });
    return listener.local.port;
  };
  const [statsPort, otherPort] = [listen('metrics'), listen('secret')];
  const { fd } = bindListener({ address: { ip, port: 0 } });
  const self = { name: 'ztunnel-1', namespace: 'istio-system', serviceAccount: 'ztunnel' };
  const hbone = { fd, transparent: false, kept: false };
  const proxy = new SelfProxy(node.parts, { ...self, hbone, statsPort }, DEFAULT_TRUST_DOMAIN);
  t.teardown(() => {
    proxy.stop();
  });
  node.know(makeWorkload({ ...self, ips: ['127.0.0.1'], hostNetwork: true }));

  const certificate = node.ca.issue('spiffe://cluster.local/ns/monitoring/sa/prometheus');
  const context = new TlsContext(certificate);
  const session = await HboneSession.open(
    socketAddress('127.0.0.1', proxy.port),
    {},
    {
      context: () => Promise.resolve(context),
      peers: ['spiffe://cluster.local/ns/istio-system/sa/ztunnel' as SpiffeId],
      http2: {},
    },
  );
  const { stream } = await openTunnel(session, {
    authority: `127.0.0.1:${statsPort}`,
    headers: [],
  });
  const reader = new Collector(stream);
  await reader.until((c) => c.ended);
  t.is(reader.text, 'metrics');
  stream.end();
  const refused = { message: /http status: 400/ };
  const elsewhere = { authority: `127.0.0.1:${otherPort}`, headers: [] };
  await t.throwsAsync(openTunnel(session, elsewhere), refused);
  node.state.setPolicy(makePolicy()); // allows nothing
  const own = { authority: `127.0.0.1:${statsPort}`, headers: [] };
  await t.throwsAsync(openTunnel(session, own), { message: /http status: 401/ });
  session.close();
  context.free();
});
