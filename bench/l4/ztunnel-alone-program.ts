import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { ADDRESS_TYPE } from '../../mesh/xds/codec.ts';
import { ZdsServer } from '../../mesh/zds/server.ts';
import { makeResource, ScriptedXds, type ScriptedStream } from '../../test/support/scripted-xds.ts';
import { startChild, stopChild, type Child } from '../harness/child.ts';
import { encodeState } from '../harness/mesh-state.ts';
import { processMemory } from '../harness/processes.ts';
import { TemporaryFolder } from '../harness/temporary-folder.ts';
import type { AloneReport, AloneTask } from './ztunnel-alone.ts';

/*
 * One ztunnel with a control plane that sends what it is told to: ztunnel-alone-program.ts TASK
 * TASK is an AloneTask as JSON; prints an AloneReport. It needs a network namespace of its own, with lo up.
 */

/** Garbage of the start is collected, and code has been compiled. */
const SETTLE_MS = 3000;
const MAIN = join(import.meta.dirname, '../../ztunnel/main.ts');

const task = JSON.parse(process.argv[2] ?? '{}') as AloneTask;
const folder = new TemporaryFolder('alone').path; // gone with this process
const xds = await ScriptedXds.start();
const zdsPath = join(folder, 'zds.sock');
const zds = new ZdsServer({ path: zdsPath, snapshot: () => [], log: () => undefined });
const resources = encodeState(task.workloads, task.services).map(({ name, bytes }) =>
  makeResource(ADDRESS_TYPE, name, '1', Buffer.from(bytes)),
);

/** Answers the first request of each type: all addresses, and no policy. */
async function serve(stream: ScriptedStream): Promise<void> {
  for (const _type of ['addresses', 'policies']) {
    const { typeUrl } = await stream.request();
    const found = typeUrl === ADDRESS_TYPE ? resources : [];
    stream.respond({ typeUrl, nonce: typeUrl, resources: found });
  }
}

function startZtunnel(): Child {
  const address = `https://127.0.0.1:${xds.port}`;
  return startChild([process.execPath, '--disable-warning=ExperimentalWarning', MAIN], {
    environment: {
      NODE_NAME: 'node-0',
      XDS_ADDRESS: address,
      CA_ADDRESS: address,
      ALT_XDS_HOSTNAME: 'istiod.istio-system.svc',
      XDS_ROOT_CA: xds.rootPem,
      CA_ROOT_CA: xds.rootPem,
      AUTH_TOKEN: 'token',
      INPOD_UDS: zdsPath,
      LOG_FORMAT: 'json',
      NODE_COMPILE_CACHE: join(folder, 'compile-cache'),
    },
  });
}

/** Until it says that it is ready: connected to both, and in possession of all that it was sent. */
async function ready(child: Child): Promise<void> {
  for await (const line of createInterface({ input: child.stdout }))
    if (line.includes('"message":"ready"')) return;
  throw new Error('Cannot measure a ztunnel: it ended before it was ready');
}

const startsMs: number[] = [];
const memory = [];
// The first start fills the compile cache, and is not counted.
for (let start = 0; start <= task.starts; start++) {
  const beganMs = performance.now();
  const child = startZtunnel();
  const serving = xds.stream().then(serve);
  await ready(child);
  const tookMs = performance.now() - beganMs;
  if (start > 0) {
    startsMs.push(tookMs);
    if (task.memory) {
      await wait(SETTLE_MS);
      memory.push(processMemory([child.pid ?? 0]));
    }
  }
  await serving;
  child.stdout.resume();
  await stopChild(child);
}
zds.close();
xds.stop();
const report: AloneReport = { startsMs, memory };
console.log(JSON.stringify(report));
process.exit(0);
