import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import test from 'ava';
import { parseIpAddress, socketAddress, type IpAddress } from '../../base/address.ts';
import { HBONE_PORT } from '../../mesh/model/ports.ts';
import { Http2Connection } from '../../net/h2/connection.ts';
import { releaseAfterFloods } from '../../mesh/runtime/release-after-floods.ts';
import { connectTcp } from '../../net/tcp.ts';
import { connectTls } from '../../net/tls.ts';
import { TlsContext } from '../../net/tls-context.ts';
import { SESSIONS_PER_SOURCE } from '../../mesh/proxy/handshake-admission.ts';
import { CLIENT } from '../support/hbone-peer.ts';
import { collectGarbage, openDescriptors, privateDirtyBytes } from '../support/memory.ts';
import { quietLogs } from '../support/quiet-log.ts';
import { TestNode } from '../support/ztunnel-pods.ts';

const SESSIONS = 10_000;
const SOURCES = 10;
/** Of one address, beyond what it may have. */
const TOO_MANY = 100;
const AT_ONCE = 50;
/** Both ends, for they are in this process: the server's is about 50 KiB. */
const BYTES_PER_SESSION = 150 << 10;
/** Of both ends, when it is over: pages of which a little is still in use. A session that is kept has three times as much. */
const KEPT_BYTES_PER_SESSION = 24 << 10;
/** How often the sessions are counted, and how often the memory is looked at until then. */
const LOOK_MS = 100;
const LOOKS = 50;
/** What else this process has open. */
const OTHER_DESCRIPTORS = 500;

/** As many of them as this process may have descriptors for, two each. */
function raiseDescriptors(): number {
  const wanted = 2 * SESSIONS + OTHER_DESCRIPTORS;
  try {
    execFileSync('prlimit', ['--pid', `${process.pid}`, `--nofile=${wanted}:${wanted}`], {
      stdio: 'ignore',
    });
  } catch {
    // No more than the machine gives.
  }
  const [, limit = ''] =
    /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
  return Math.min(SESSIONS, Math.floor((Number(limit) - OTHER_DESCRIPTORS) / 2));
}

test.serial('H23: 10,000 idle sessions of many addresses are held, and given back', async (t) => {
  t.timeout(100_000);
  const sessions = raiseDescriptors();
  const node = await TestNode.open(t, quietLogs());
  const attackers = node.addPlain({ name: 'attackers' });
  const sources = Array.from({ length: SOURCES }, (_, index) =>
    parseIpAddress(`10.7.9.${index + 1}`),
  );
  attackers.run(sources.map((ip) => `ip addr add ${ip}/16 dev eth0`).join('\n'));
  const server = node.addPod({ name: 'server' });
  using context = new TlsContext(node.ca.issue(CLIENT));
  const to = socketAddress(server.ip, HBONE_PORT);
  const open = new Set<Http2Connection>();

  const dial = async (ip: IpAddress): Promise<boolean> => {
    try {
      const socket = await connectTcp(to, { netns: attackers.netns, source: { ip, port: 0 } });
      const begun = Promise.withResolvers<boolean>();
      const session = await connectTls(socket, context);
      const connection = Http2Connection.client(
        session,
        {},
        {
          onAvailable: () => {
            begun.resolve(true);
          },
          onClose: () => {
            open.delete(connection);
            begun.resolve(false);
          },
        },
      );
      open.add(connection);
      return await begun.promise;
    } catch {
      return false;
    }
  };
  const dialMany = async (count: number): Promise<void> => {
    for (let done = 0; done < count; done += AT_ONCE)
      await Promise.all(
        Array.from({ length: Math.min(AT_ONCE, count - done) }, (_, index) =>
          dial(sources[(done + index) % SOURCES] ?? server.ip),
        ),
      );
  };
  const closeAll = async (): Promise<void> => {
    for (const connection of open) connection.close();
    await node.until(() => open.size === 0 && openDescriptors() <= descriptors);
  };

  await dial(server.ip).catch(() => false);
  const descriptors = openDescriptors();
  await dialMany(SOURCES * 10); // what is made once
  await closeAll();
  for (let round = 0; round < 3; round++) await collectGarbage();
  const before = privateDirtyBytes();
  await dialMany(sessions);
  t.is(open.size, sessions);
  await collectGarbage();
  const held = privateDirtyBytes() - before;
  // One address asks for more than its share, and the others go on.
  const [first = server.ip, second = server.ip] = sources;
  const share = SESSIONS_PER_SOURCE - Math.ceil(sessions / SOURCES);
  for (let extra = 0; extra < share + TOO_MANY; extra++)
    t.is(await dial(first), extra < share, `${extra}`);
  t.true(await dial(second));
  t.is(node.metric('halo_hbone_handshakes_refused_total', 'reason="sessions"'), TOO_MANY);
  // As a data thread does it.
  using _release = releaseAfterFloods({ lookMs: LOOK_MS });
  await closeAll();
  const kept = async (): Promise<number> => {
    await delay(2 * LOOK_MS);
    return privateDirtyBytes() - before;
  };
  let keptBytes = await kept();
  for (let look = 0; look < LOOKS && keptBytes >= sessions * KEPT_BYTES_PER_SESSION; look++)
    keptBytes = await kept();
  t.log(
    `${sessions} sessions: ${Math.round(held / sessions / 1024)} KiB each, ${keptBytes >> 20} MiB kept`,
  );
  t.true(held < sessions * BYTES_PER_SESSION, `${held} bytes`);
  t.true(keptBytes < sessions * KEPT_BYTES_PER_SESSION, `${keptBytes} bytes`);
  t.true(await dial(first), 'its share is free again');
  await closeAll();
});
