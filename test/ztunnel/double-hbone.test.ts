import test, { type ExecutionContext } from 'ava';
import { parseIpAddress, socketAddress } from '../../base/address.ts';
import { acceptTunnel, serveTunnels } from '../../mesh/hbone/server.ts';
import { Relay } from '../../net/relay.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { TlsContext } from '../../net/tls-context.ts';
import { acceptTls } from '../../net/tls.ts';
import { gatewayAt, makeService, makeWorkload } from '../support/workloads.ts';
import { TestNode, type TestPod } from '../support/ztunnel-pods.ts';

const SERVICE = 'web.shop.svc.cluster.local';
const identity = (account: string): string => `spiffe://cluster.local/ns/shop/sa/${account}`;

/** The gateway of the other network: what comes out of its outer tunnels goes to one pod there, as it is. */
function runGateway(t: ExecutionContext, home: TestNode, gateway: TestPod, to: TestPod): void {
  const context = new TlsContext(home.ca.issue(identity(gateway.name)));
  const address = { ip: parseIpAddress(gateway.ip), port: 15008 };
  const listener = listenTcp({ address, netns: gateway.netns }, (stream) => {
    void acceptTls(stream, context).then((tls) => {
      const session = serveTunnels(
        tls,
        {},
        {
          onTunnel: (request) => {
            t.is(request.authority, `${SERVICE}:80`);
            void connectTcp(socketAddress(to.ip, 15008), { netns: to.netns }).then((upstream) => {
              acceptTunnel(request, 'k8s.namespace.name=wrong,k8s.deployment.name=gateway-says');
              new Relay(request.stream, upstream, () => undefined);
            });
          },
          onClose: () => undefined,
        },
      );
      t.teardown(() => {
        session.close();
      });
    });
  });
  t.teardown(() => {
    listener.close();
    context.free();
  });
}

type Networks = Readonly<{ home: TestNode; far: TestNode; client: TestPod }>;

/** Two nodes in two networks, with one CA: the client in one, the one endpoint of its service in the other. */
async function openNetworks(t: ExecutionContext, responseBaggage = true): Promise<Networks> {
  const home = await TestNode.open(t, { network: 'home', responseBaggage });
  const far = await TestNode.open(t, { network: 'far' });
  far.issue = (wanted) => home.ca.issue(wanted);
  const serves = { [`shop/${SERVICE}`]: ['80:8080'] };
  const locality = { region: 'r2', zone: 'z2', subzone: '' };
  const described = { network: 'far', clusterId: 'far-away', workloadName: 'remote-app', locality };
  const remote = far.addPod({ name: 'remote', ...described, serves });
  const gateway = home.addPlain({ name: 'gateway' });
  const subjectAltNames = [identity('remote')];
  far.state.setService(makeService({ name: 'web', subjectAltNames }));
  home.state.setService(
    makeService({ name: 'web', vips: ['10.96.0.10'], network: 'home', subjectAltNames }),
  );
  home.know(
    makeWorkload({ name: 'gateway', network: 'far', ips: [gateway.ip] }),
    makeWorkload({
      ...{ name: 'somewhere', network: 'far', serves },
      networkGateway: gatewayAt(gateway.ip, 'far'),
    }),
  );
  runGateway(t, home, gateway, remote);
  remote.listen(8080, (app) => {
    void app
      .until((c) => c.received > 0)
      .then(() => app.write('from afar'))
      .then(() => {
        app.stream.end();
      });
  });
  const client = home.addPod({ name: 'client', network: 'home', workloadName: 'client-app' });
  return { home, far, client };
}

async function call(client: TestPod): Promise<string> {
  const app = await client.connect('10.96.0.10', 80);
  await app.write('hello');
  await app.until(({ ended, error }) => ended || error !== undefined);
  app.stream.end();
  return app.text;
}

test.serial(
  'a call to another network is told of on both sides as those at its ends say, under one trace',
  async (t) => {
    const { home, far, client } = await openNetworks(t);
    t.is(await call(client), 'from afar');
    const outbound = await home.ended('outbound');
    const inbound = await far.ended('inbound');
    const ends = { 'src.identity': identity('client'), 'dst.identity': identity('remote') };
    t.like(outbound, { ...ends, 'src.workload': 'client', 'dst.workload': 'remote-app' });
    t.like(outbound, {
      'dst.namespace': 'shop',
      'dst.cluster': 'far-away',
      'dst.service': SERVICE,
    });
    t.like(inbound, { ...ends, 'src.workload': 'client-app', 'dst.workload': 'remote' });
    t.like(inbound, {
      'src.namespace': 'shop',
      'src.cluster': 'Kubernetes',
      'dst.service': SERVICE,
    });
    t.truthy(outbound['outbound']);
    t.deepEqual(outbound['outbound'], inbound['inbound']);
    const opened = 'istio_tcp_connections_opened_total';
    const destination = [
      ...['destination_workload="remote-app"', 'destination_cluster="far-away"'],
      ...['destination_region="r2"', `destination_principal="${identity('remote')}"`],
    ];
    t.is(home.metric(opened, 'reporter="source"', ...destination), 1);
    const source = ['source_workload="client-app"', `source_principal="${identity('client')}"`];
    t.is(far.metric(opened, 'reporter="destination"', ...source), 1);
  },
);

test.serial('without ENABLE_RESPONSE_BAGGAGE a remote destination stays unknown', async (t) => {
  const { home, client } = await openNetworks(t, false);
  t.is(await call(client), 'from afar');
  const outbound = await home.ended('outbound');
  t.is(outbound['dst.workload'], undefined);
  t.is(outbound['dst.identity'], identity('remote'));
});
