import { closeSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress } from '../../../base/address.ts';
import { Enrolments } from '../../../deploy/node-agent/enrolments.ts';
import type { AgentPod, PodSource } from '../../../deploy/node-agent/pod-source.ts';
import { ZdsClient } from '../../../mesh/zds/client.ts';
import { ZdsServer } from '../../../mesh/zds/server.ts';
import { duplicate } from '../../../net/descriptor.ts';
import { openNetns, prepareNetns, type Netns } from '../../../net/netns.ts';
import { bindListener, connectTcp } from '../../../net/tcp.ts';
import { TcpListener } from '../../../net/tcp-listener.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';
import { openNamespace } from '../support.ts';

const UID = 'the-pod';
const LOOPBACK = parseIpAddress('127.0.0.1');

/** An agent that has just started, and knows no pod yet. */
async function openEnrolments(
  t: ExecutionContext,
  annotate: PodSource['annotate'] = () => Promise.resolve(),
): Promise<{ enrolments: Enrolments; zdsPath: string }> {
  await prepareNetns();
  const folder = new TemporaryFolder();
  const log = (message: string): void => {
    t.log(message);
  };
  const path = join(folder.path, 'zds.sock');
  const zds = new ZdsServer({ path, snapshot: () => enrolments.snapshot(), log });
  const enrolments: Enrolments = new Enrolments({
    source: { annotate, close: () => undefined },
    ...{ zds, dnsCapture: false, ipv6: true, log },
  });
  t.teardown(() => {
    zds.close();
    enrolments.close();
    folder[Symbol.dispose]();
  });
  return { enrolments, zdsPath: path };
}

/** What the source tells of it. */
function labelledPod(netnsPath: string): Map<string, AgentPod> {
  const pod: AgentPod = {
    ...{ uid: UID, name: 'client', namespace: 'shop', serviceAccount: 'client', labels: {} },
    ...{ annotations: {}, namespaceLabels: { 'istio.io/dataplane-mode': 'ambient' } },
    ...{ hostNetwork: false, ips: ['10.0.0.1'], netnsPath, ended: false },
  };
  return new Map([[UID, pod]]);
}

/** A socket of a pod, as a proxy that is about to die has it. */
function ownSocket(netns: Netns, port: number): { fd: number; transparent: boolean } {
  return bindListener({ address: { ip: parseIpAddress('::'), port }, netns });
}

test('a new agent keeps what a proxy gives back before it has found the pod, so that clients wait on', async (t) => {
  const path = await openNamespace(t);
  const netns = openNetns(path);
  t.teardown(() => {
    netns.close();
  });
  const { enrolments } = await openEnrolments(t);
  enrolments.adopt(UID, 'outbound', ownSocket(netns, 15001));
  enrolments.adopt('another', 'outbound', ownSocket(netns, 15099)); // and the proxy dies

  const waiting = await connectTcp({ ip: LOOPBACK, port: 15001 }, { netns });
  enrolments.update(labelledPod(path));
  t.deepEqual(
    (await enrolments.snapshot()).map(({ uid }) => uid),
    [UID],
  );

  const fd = duplicate(enrolments.listenersOf(UID).open('outbound').fd);
  const accepted = await new Promise<{ local: { port: number }; reset: () => void }>((resolve) => {
    const listener = new TcpListener({ fd, transparent: false }, {}, (stream) => {
      resolve(stream);
      listener.close();
    });
  });
  t.is(accepted.local.port, 15001);
  accepted.reset();
  waiting.reset();
  // What belongs to no pod is not kept.
  const gone = connectTcp({ ip: LOOPBACK, port: 15099 }, { netns });
  await t.throwsAsync(gone, { message: /ECONNREFUSED/ });
  const late = ownSocket(netns, 15098);
  const refused = { code: 'ERR_LISTENER', message: /it is not enrolled/ };
  t.throws(() => {
    enrolments.adopt('another', 'outbound', late);
  }, refused);
  t.throws(() => {
    closeSync(late.fd); // it has been
  });
});

test('an agent that ends lets a pod be that no proxy has taken', async (t) => {
  const { enrolments } = await openEnrolments(t);
  enrolments.update(labelledPod(await openNamespace(t)));
  t.is((await enrolments.snapshot()).length, 1);
  t.is(enrolments.describe()[0]?.['state'], 'capturing');
  enrolments.close();
  // Nothing keeps the loop from turning.
  await new Promise((resolve) => setTimeout(resolve, 20));
  t.deepEqual(enrolments.describe(), []);
});

test('a pod does not start before its annotation says that it is captured', async (t) => {
  const asked = Promise.withResolvers<undefined>();
  const written = Promise.withResolvers<undefined>();
  const { enrolments, zdsPath } = await openEnrolments(t, (_pod, annotations) => {
    if (annotations['ambient.istio.io/redirection'] !== 'enabled') return Promise.resolve();
    asked.resolve(undefined);
    return written.promise;
  });
  const netnsPath = await openNamespace(t);
  const signal = AbortSignal.timeout(20_000);
  let mayStart = false;
  const started = enrolments.whenDecided('shop', 'client', signal).then(() => {
    mayStart = true;
  });
  const taken: string[] = [];
  const proxy = new ZdsClient({
    path: zdsPath,
    handler: {
      add(_uid, info, netns) {
        netns.close();
        taken.push(info.name);
        return Promise.resolve();
      },
      remove: () => Promise.resolve(),
    },
    onReady: () => undefined,
    onProtocolError: (error) => {
      t.fail(error.message);
    },
    log: (message) => {
      t.log(message);
    },
  });
  t.teardown(() => {
    proxy.close();
  });
  enrolments.update(labelledPod(netnsPath));
  await asked.promise;
  t.deepEqual(taken, ['client']);
  // Whatever else changes meanwhile is looked at, and those who wait look again.
  enrolments.update(labelledPod(netnsPath));
  while (!enrolments.synced) await nextTurn();
  await nextTurn();
  t.false(mayStart);
  written.resolve(undefined);
  await started;
  t.true(mayStart);
});
