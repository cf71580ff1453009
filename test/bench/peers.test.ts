import { spawnSync } from 'node:child_process';
import test from 'ava';
import { parseIpAddress } from '../../base/address.ts';
import { runPingPong } from '../../bench/load/ping-client.ts';
import { Echo } from '../../bench/load/sinks.ts';
import { firstTunnels } from '../../bench/l4/pods-added.ts';
import { readRequests } from '../../bench/l4/http-servers.ts';
import { readWrkErrors } from '../../bench/l4/requests.ts';
import { readH2loadErrors } from '../../bench/l7/measure.ts';
import { haproxy } from '../../bench/peers/haproxy.ts';
import { nginx } from '../../bench/peers/nginx.ts';
import { ProxyPair } from '../../bench/peers/proxy-pair.ts';
import { listenTcp } from '../../net/tcp-listener.ts';

const enter = { client: asItIs, server: asItIs };
const host = '127.0.0.1';

function asItIs(command: readonly string[]): readonly string[] {
  return command;
}

for (const kind of [nginx, haproxy]) {
  test(`a pair of ${kind.name} carries bytes over mTLS, and ends`, async (t) => {
    const address = { ip: parseIpAddress(host), port: 0 };
    const listener = listenTcp({ address }, (stream) => new Echo(stream));
    const { port } = listener.local;
    const pair = await ProxyPair.start(kind, { serverIp: host, ports: [port] }, enter);
    try {
      const to = { host, port: port + kind.offsets.client };
      t.like(await runPingPong({ ...to, count: 20, bytes: 64 }), { count: 20, errors: 0 });
      t.true(pair.pids().length >= 4);
      // Without a certificate of the pair's own CA nobody gets in.
      const tls = `${host}:${port + kind.offsets.server}`;
      const stranger = ['s_client', '-connect', tls, '-tls1_3', '-quiet', '-no_ign_eof'];
      const { stdout } = spawnSync('openssl', stranger, { input: 'hello', encoding: 'utf8' });
      t.is(stdout, '');
    } finally {
      const pids = pair.pids();
      await pair[Symbol.asyncDispose]();
      listener.close();
      t.deepEqual(pids.filter(isAlive), []);
    }
  });
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

test('errors in the report of wrk are found', (t) => {
  const report = (line: string): string => `Running 2s test\n${line}Requests/sec: 100.00\n`;
  t.is(readWrkErrors(report('')), undefined);
  t.is(
    readWrkErrors(report('  Socket errors: connect 0, read 0, write 0, timeout 7\n')),
    undefined,
  );
  t.regex(
    readWrkErrors(report('  Socket errors: connect 0, read 3, write 0, timeout 0\n')) ?? '',
    /read 3/,
  );
  t.regex(readWrkErrors(report('  Non-2xx or 3xx responses: 12\n')) ?? '', /^12 answers/);
});

test("the number of requests is read from nginx's status page", (t) => {
  const page = `Active connections: 3 \nserver accepts handled requests\n 10 11 12 \nReading: 0\n`;
  t.is(readRequests(page), 12);
  t.true(Number.isNaN(readRequests('404')));
});

test('the first tunnel of each client is found in an access log', (t) => {
  const line = (fields: object): string =>
    JSON.stringify({
      ...{ time: '2026-01-01T00:00:00.250Z', message: 'connection complete' },
      ...{ direction: 'inbound', 'src.addr': '10.0.0.1:999', 'src.identity': 'spiffe://a' },
      ...fields,
    });
  const log = [
    line({ time: '2026-01-01T00:00:00.100Z', 'src.identity': undefined }),
    line({ time: '2026-01-01T00:00:00.200Z', error: 'refused' }),
    line({}),
    line({ time: '2026-01-01T00:00:00.300Z' }),
    line({ direction: 'outbound', 'src.addr': '10.0.0.2:1' }),
    line({}).slice(0, 40),
  ].join('\n');
  t.deepEqual(firstTunnels(log), new Map([['10.0.0.1', Date.parse('2026-01-01T00:00:00.250Z')]]));
});

test('errors in the report of h2load are found', (t) => {
  const report = (counts: string): string =>
    `requests: 9 total, 9 started, 9 done, ${counts}, 0 timeout\nstatus codes: 9 2xx\n`;
  t.is(readH2loadErrors(report('9 succeeded, 0 failed, 0 errored')), undefined);
  t.regex(readH2loadErrors(report('8 succeeded, 1 failed, 0 errored')) ?? '', /1 failed/);
  t.regex(readH2loadErrors(report('0 succeeded, 0 failed, 0 errored')) ?? '', /no request/);
  t.regex(readH2loadErrors('') ?? '', /no request/);
});
