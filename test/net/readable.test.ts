import { closeSync } from 'node:fs';
import { once } from 'node:events';
import { connect } from 'node:net';
import test from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { findReadable } from '../../net/readable.ts';
import { socketLocal } from '../../net/socket-address.ts';
import { bindListener } from '../../net/tcp.ts';
import { bindUdp } from '../../net/udp.ts';

const LOOPBACK = { ip: parseIpAddress('127.0.0.1'), port: 0 };

test('findReadable() names the sockets that somebody waits at, and takes nothing from them', async (t) => {
  const idle = bindListener({ address: LOOPBACK }).fd;
  const called = bindListener({ address: LOOPBACK }).fd;
  const silent = bindUdp({ local: LOOPBACK });
  const all = [idle, silent, called];
  t.deepEqual([...findReadable(all)], []);
  const client = connect(socketLocal(called).port, '127.0.0.1');
  await once(client, 'connect');
  t.deepEqual([...findReadable(all)], [called]);
  t.deepEqual([...findReadable(all)], [called]);
  client.destroy();
  for (const fd of all) closeSync(fd);
});

test('findReadable() of nothing is nothing, and of what is no descriptor an error', (t) => {
  t.is(findReadable([]).size, 0);
  t.throws(() => findReadable([-1]), { code: 'ERR_SYSTEM_EBADF' });
});
