import { Server, type ServerCredentials } from '@grpc/grpc-js';
import { join } from 'node:path';
import { describeError, MeshError } from '../base/errors.ts';
import { systemClock, type Clock } from '../certs/clock.ts';
import { formatProblem, type ConfigProblem } from '../mesh/kubernetes/problem.ts';
import type { Log } from '../mesh/runtime/log.ts';
import { watchLoop } from '../mesh/runtime/loop-watchdog.ts';
import { Metrics } from '../mesh/runtime/metrics.ts';
import { addProcessMetrics } from '../mesh/runtime/process-metrics.ts';
import { releaseAfterSending } from '../mesh/runtime/release-after-sending.ts';
import { Readiness } from '../mesh/runtime/readiness.ts';
import { TokenAuthenticator } from './ca/authenticate.ts';
import type { OpenedAuthority } from './ca/open.ts';
import { startCa } from './certificate-authority.ts';
import type { ControlPlaneConfig } from './config.ts';
import { GeneratedFile } from './generated-file.ts';
import { ChangeJoiner } from './joiner.ts';
import { JwksCache } from './jwks-cache.ts';
import { fetchJwks } from './jwks-source.ts';
import { KeySetFiles } from './key-set-files.ts';
import { debugPages } from './pages.ts';
import { nodeProxies, podDirectory, runsWaypoint } from './pod-directory.ts';
import { Snapshot } from './snapshot.ts';
import { FolderSource } from './sources/folder.ts';
import { LastGoodDatabase } from './sources/last-good.ts';
import { readKeptState, StatusFiles } from './status-files.ts';
import { Translator } from './translate/translator.ts';
import { VipAllocator } from './translate/vips.ts';
import { xdsMetrics } from './xds/metrics.ts';
import { XDS_SERVICE, XdsServer } from './xds/server.ts';
import { StreamLimiter } from './xds/stream-limiter.ts';
import { frameOf } from './xds/wire.ts';

/** A reconnecting proxy names every resource that it holds: 100,000 names and versions are some 12 MB. */
const MAX_RECEIVE_BYTES = 64 * 1024 * 1024;
/** As istiod's gRPC server, istio/istio pkg/keepalive. */
const GRPC_OPTIONS = {
  'grpc.max_receive_message_length': MAX_RECEIVE_BYTES,
  'grpc.max_concurrent_streams': 100_000,
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
};

/** A control plane that runs. */
export type ControlPlane = Readonly<{
  grpcPort: number;
  metrics: Metrics;
  readiness: Readiness;
  xds: XdsServer;
  snapshot: Snapshot;
  pages: ReturnType<typeof debugPages>;
  /** Takes in what was written until now and returns the revision that has it. */
  refresh: () => Promise<number>;
  problems: () => readonly ConfigProblem[];
  ca: OpenedAuthority;
}>;

/** Starts all parts; what is opened goes onto `stack`. */
export async function startControlPlane(
  config: ControlPlaneConfig,
  parts: Readonly<{ log: Log; stack: AsyncDisposableStack; clock?: Clock }>,
): Promise<ControlPlane> {
  const { log, stack, clock = systemClock } = parts;
  const metrics = new Metrics();
  addProcessMetrics(metrics);
  stack.use(watchLoop({ metrics, thread: 'control', logger: log.scope('istiod-lite') }));
  // After a restart of ours every proxy comes back, and is sent all that there is.
  stack.use(releaseAfterSending());
  const readiness = new Readiness();
  const configured = readiness.gate('configuration');
  const serving = readiness.gate('gRPC server');
  const authenticator = new TokenAuthenticator({
    ...{ keySetFile: config.tokenJwks, issuer: config.tokenIssuer },
    ...{ audiences: config.tokenAudiences, now: clock.now },
    onProblem: (problem) => {
      log.scope('ca').error('cannot use the key set', { error: describeError(problem) });
    },
  });
  const kept = readKeptState(config.statusDir);
  const snapshot = new Snapshot(kept.revision);
  const vips = new VipAllocator(kept.vips);
  const meshLog = log.scope('config');
  const onTrouble = (message: string): void => {
    meshLog.error(message);
  };
  // Frames are made in the slices of translation, not when a proxy waits for all of them.
  const translator = new Translator(config, vips, { onTrouble, prepare: frameOf });
  const xds = new XdsServer({
    ...{ translator, log: log.scope('xds'), metrics: xdsMetrics(metrics) },
    authenticate: (authorization) => authenticator.authenticate(authorization),
    trustedNodeAccounts: new Set(config.trustedNodeAccounts),
    dedicatedAccounts: new Set(config.dedicatedAccounts),
    isWaypoint: (namespace, account) => runsWaypoint(snapshot, namespace, account),
    expected: () => nodeProxies(snapshot, config.trustedNodeAccounts),
    limiter: new StreamLimiter(),
  });
  const status = new StatusFiles(config.statusDir, log.scope('status'), () => ({
    statuses: translator.statuses(),
    state: { revision: snapshot.revision, vips: vips.entries() },
  }));
  stack.use(status);
  const generated = stack.use(
    new GeneratedFile(config.generatedDir, log.scope('gateways'), () => translator.generated()),
  );
  // Until then what is missing in the picture may only not have been read.
  let complete = false;
  const onKeyProblem = (problem: string): void => {
    meshLog.warn(problem);
  };
  const keySetFolder = config.statusDir && join(config.statusDir, 'key-sets');
  const jwks = stack.use(
    new JwksCache({
      fetch: (source) => fetchJwks(source, { allowedHosts: new Set(config.jwksAllowedHosts) }),
      onChange: (source, keys) => {
        joiner.add({ upserts: [], removals: [], keys: [{ source, keys }] });
      },
      onProblem: onKeyProblem,
      files: new KeySetFiles(keySetFolder, onKeyProblem),
      now: clock.now,
      schedule: (call, delayMs) => {
        const timer = setTimeout(call, delayMs);
        return () => {
          clearTimeout(timer);
        };
      },
    }),
  );
  const updates = metrics.counter('pilot_inbound_updates', 'Objects that changed');
  const joiner = stack.use(
    new ChangeJoiner(async (changes) => {
      const change = snapshot.apply(changes);
      if (change === undefined) return;
      jwks.follow(snapshot);
      updates.cell().value += change.changes.length;
      await xds.push(await translator.applyInSlices(snapshot, change));
      status.touch();
      if (complete) generated.update();
      meshLog.debug('revision', { revision: change.revision, changes: change.changes.length });
    }),
  );
  let problems: readonly ConfigProblem[] = [];
  const lastGood =
    config.statusDir === undefined
      ? undefined
      : stack.use(new LastGoodDatabase(join(config.statusDir, 'last-good.db'), { onTrouble }));
  const source = stack.use(
    new FolderSource({
      ...{ folders: config.configDirs, quietMs: config.configQuietMs, onTrouble },
      ...(lastGood === undefined ? {} : { lastGood }),
    }),
  );
  const settle = async (): Promise<void> => {
    await joiner.flush();
    await joiner.flush(); // kept keys, which what was let through has called for
    if (!complete) return;
    xds.open(snapshot.revision);
    generated.update();
    configured.open();
  };
  await source.start({
    onChange: (changes) => {
      joiner.add(changes);
    },
    onProblems: (now) => {
      const known = new Set(problems.map(formatProblem));
      for (const problem of now) {
        const text = formatProblem(problem);
        if (known.has(text)) continue;
        meshLog.log(problem.severity === 'error' ? 'error' : 'warn', text);
      }
      problems = now;
    },
    // Until then nothing is served: what is missing would be told as gone to a proxy that still has it.
    onComplete: () => {
      complete = true;
      void settle().then(() => {
        jwks.forgetOthers();
      });
    },
  });
  await settle();

  const refresh = async (): Promise<number> => {
    await source.refresh();
    await settle();
    return snapshot.revision;
  };

  const ca = await startCa(config, {
    ...{ authenticator, metrics, log, clock, stack, catchUp: refresh },
    pods: () => podDirectory(snapshot),
  });
  const server = new Server(GRPC_OPTIONS);
  server.addService(ca.service.definition, ca.service.implementation);
  server.addService(XDS_SERVICE, xds.implementation);
  const grpcPort = await listen(server, config.grpcPort, ca.identity.credentials);
  stack.defer(() => {
    server.forceShutdown();
  });
  serving.open();
  log.scope('istiod-lite').info('serving', { port: grpcPort, objects: snapshot.size });

  const pages = debugPages({
    ...{ snapshot, translator, xds, refresh },
    ...{ problems: () => problems, describeCa: ca.describe },
  });
  return {
    ...{ grpcPort, metrics, readiness, xds, snapshot, pages, refresh },
    problems: () => problems,
    ca: ca.opened,
  };
}

/** Both families where the host has IPv6, else IPv4. */
async function listen(
  server: Server,
  port: number,
  credentials: ServerCredentials,
): Promise<number> {
  const bind = (address: string): Promise<number> =>
    new Promise((resolve, reject) => {
      server.bindAsync(address, credentials, (error, bound) => {
        if (error === null) resolve(bound);
        else reject(error);
      });
    });
  try {
    return await bind(`[::]:${port}`);
  } catch {
    try {
      return await bind(`0.0.0.0:${port}`);
    } catch (cause) {
      throw new MeshError('ERR_LISTEN', 'local', `Cannot listen on gRPC port ${port}`, { cause });
    }
  }
}
