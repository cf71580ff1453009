import { basename, join } from 'node:path';
import { parseIpAddress } from '../../../base/address.ts';
import { describeError } from '../../../base/errors.ts';
import { parseSpiffeId } from '../../../mesh/model/identity.ts';
import { acceptOptions } from '../../../mesh/proxy/accept-options.ts';
import { ConnectionMetrics } from '../../../mesh/proxy/connection-metrics.ts';
import { Connections } from '../../../mesh/proxy/connections.ts';
import { drained } from '../../../mesh/proxy/drain-threads.ts';
import { HandshakeAdmission } from '../../../mesh/proxy/handshake-admission.ts';
import { Metrics } from '../../../mesh/runtime/metrics.ts';
import type { ProgramContext } from '../../../mesh/runtime/program.ts';
import { releaseAfterFloods } from '../../../mesh/runtime/release-after-floods.ts';
import { releaseMemory } from '../../../mesh/runtime/release-memory.ts';
import { trimNativeHeap } from '../../../net/native-heap.ts';
import { closeReactor, setFaultHandler } from '../../../net/reactor.ts';
import { listenTcp } from '../../../net/tcp-listener.ts';
import type { TcpStream } from '../../../net/tcp-stream.ts';
import { HttpConnections } from '../../../waypoint/http.ts';
import { identityOf } from '../../ambient/application.ts';
import { ADMIN_PORT, INBOUND_PORT, OUTBOUND_PORT } from '../capture.ts';
import {
  endpointsFileName,
  endpointsFolder,
  policyFolder,
  sidecarFileName,
  type EndpointsFile,
  type PolicyFile,
  type SidecarFile,
} from '../halo-files.ts';
import { followFolder, readContext, readJson } from './files.ts';
import { connectionsToApplication, inboundSteps, serveInbound } from './inbound.ts';
import { makeWorkload } from './mesh-objects.ts';
import { connectionsToPeers, outboundSteps, serveOutbound } from './outbound.ts';
import { servePages } from './pages.ts';
import { InboundPolicy } from './policy.ts';
import { Targets } from './targets.ts';

export type SidecarConfig = Readonly<{ folder: string; account: string; podName: string }>;

/** As the application has it. */
const BACKLOG = 4096;
const ANY = '0.0.0.0';
const LOOPBACK = '127.0.0.1';
/** When what was needed for the start is not needed any more, as ztunnel has it. */
const START_IS_OVER_MS = 2_000;
/** How often native memory is given back; takes less than a thousandth of a processor. */
const TRIM_MS = 10_000;
/** What a name of a file of endpoints ends with. */
const EXTENSION = endpointsFileName('');

/** Joins the parts: all of it is in one thread. The ports are opened last, for the application starts when they are there. */
export async function startSidecar({
  config,
  log,
  stack,
}: ProgramContext<SidecarConfig>): Promise<void> {
  const { folder, account, podName } = config;
  const logger = log.scope('sidecar');
  const onError = (error: unknown): void => {
    logger.error('internal error', { error: describeError(error) });
  };
  setFaultHandler(onError);
  stack.defer(closeReactor);
  const gone = new AbortController();
  stack.defer(() => {
    gone.abort(drained());
  });
  stack.use(releaseAfterFloods());
  stack.use(keepMemoryLow());

  const file = readJson(join(folder, sidecarFileName(account))) as SidecarFile;
  const context = stack.use(readContext(file.certificate));
  const identity = parseSpiffeId(identityOf(account));
  // As it is for itself: the application, in the same pod.
  const self = makeWorkload(LOOPBACK, { name: account, account });
  const targets = stack.use(new Targets(file.services));
  const policy = new InboundPolicy();
  const policies = policyFolder(folder, account);
  stack.use(
    followFolder(
      policies,
      (_name, content) => void policy.replace(content as PolicyFile).catch(onError),
      onError,
    ),
  );
  const onEndpoints = (name: string, content: unknown): void => {
    targets.setEndpoints(basename(name, EXTENSION), content as EndpointsFile);
  };
  stack.use(followFolder(endpointsFolder(folder), onEndpoints, onError));

  // Each direction as a thread of its own would have them: the same series, told by two reporters.
  const [outboundMetrics, inboundMetrics] = [new Metrics(), new Metrics()];
  const connections = new Connections();
  const common = {
    ...{ connections, accessLog: log.scope('access'), podName, self, identity, gone: gone.signal },
    metrics: new ConnectionMetrics(outboundMetrics),
  };
  const https = new HttpConnections();
  stack.defer(() => {
    https.drain();
    connections.cutAll(drained());
  });
  const peers = stack.use(connectionsToPeers(context, gone.signal));
  const application = stack.use(connectionsToApplication(gone.signal));
  const outbound = outboundSteps({ log, metrics: outboundMetrics, pool: peers }, targets);
  const inbound = inboundSteps({ log, metrics: inboundMetrics, pool: application }, policy, {
    ...{ self, identity },
  });
  const outboundParts = { ...common, http: { steps: outbound, connections: https } };
  const inboundParts = {
    ...{ ...common, context, http: { steps: inbound, connections: https } },
    handshakes: new HandshakeAdmission(inboundMetrics),
  };

  const listen = (ip: string, port: number, serve: (stream: TcpStream) => void): void => {
    const { onExhausted } = acceptOptions({
      ...{ keepAlive: undefined, takesTurns: false, log: logger },
    });
    const address = { ip: parseIpAddress(ip), port };
    const listener = listenTcp({ address, backlog: BACKLOG, onExhausted }, serve);
    stack.defer(() => {
      listener.close();
    });
  };
  listen(LOOPBACK, ADMIN_PORT, (stream) => {
    servePages(stream, outboundParts.http, [outboundMetrics, inboundMetrics]);
  });
  listen(ANY, OUTBOUND_PORT, (stream) => void serveOutbound(stream, outboundParts));
  listen(ANY, INBOUND_PORT, (stream) => void serveInbound(stream, inboundParts));
  logger.info('ready', { identity });
  return Promise.resolve();
}

/** What loading, and V8's compilers while code gets warm, have used, the C library would keep: some 15 MB. */
function keepMemoryLow(): Disposable {
  const once = setTimeout(releaseMemory, START_IS_OVER_MS).unref();
  const again = setInterval(trimNativeHeap, TRIM_MS).unref();
  return {
    [Symbol.dispose]() {
      clearTimeout(once);
      clearInterval(again);
    },
  };
}
