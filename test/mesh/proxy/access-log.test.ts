import test from 'ava';
import { socketAddress } from '../../../base/address.ts';
import { MeshError } from '../../../base/errors.ts';
import { DEFAULT_TRUST_DOMAIN, makeSpiffeId } from '../../../mesh/model/identity.ts';
import {
  logConnectionEnd,
  logConnectionOpened,
  logConnectionRejected,
  type ConnectionRecord,
} from '../../../mesh/proxy/access-log.ts';
import { openLog, parseLogLevels } from '../../../mesh/runtime/log.ts';
import { testWorkload } from './fixtures/workload.ts';

const trustDomain = DEFAULT_TRUST_DOMAIN;
const client = makeSpiffeId({ trustDomain, namespace: 'apps', serviceAccount: 'client' });
const server = makeSpiffeId({ trustDomain, namespace: 'apps', serviceAccount: 'server' });

const outbound: ConnectionRecord = {
  direction: 'outbound',
  trace: { traceId: '0af7651916cd43dd8448eb211c80319c' },
  source: {
    address: socketAddress('10.0.0.1', 40_000),
    workload: testWorkload('client-1'),
    identity: client,
  },
  destination: {
    address: socketAddress('10.0.1.2', 15_008),
    hboneTarget: socketAddress('10.0.1.2', 8080),
    serviceHostname: 'server.apps.svc.cluster.local',
    workload: testWorkload('server-1'),
    identity: server,
  },
  clientToServerBytes: 84,
  serverToClientBytes: 1553,
  durationMs: 12.4,
};

function lineOf(format: 'text' | 'json', levels: string, run: typeof logTo): string[] {
  const lines: string[] = [];
  const writer = { write: (line: string) => void lines.push(line), flush: () => undefined };
  const log = openLog({ format, levels: parseLogLevels(levels), writer, now: () => 0 });
  run(log.scope('access'));
  return lines;
}

function logTo(logger: Parameters<typeof logConnectionEnd>[0]): void {
  logConnectionEnd(logger, outbound);
}

const ends =
  'src.addr=10.0.0.1:40000 src.workload="client-1" src.namespace="apps" ' +
  'src.identity="spiffe://cluster.local/ns/apps/sa/client" src.cluster="Kubernetes" ' +
  'dst.addr=10.0.1.2:15008 dst.hbone_addr=10.0.1.2:8080 ' +
  'dst.service="server.apps.svc.cluster.local" dst.workload="server-1" dst.namespace="apps" ' +
  'dst.identity="spiffe://cluster.local/ns/apps/sa/server" dst.cluster="Kubernetes" ';

test('an outbound connection leaves one line with both identities', (t) => {
  t.deepEqual(lineOf('text', 'info', logTo), [
    '1970-01-01T00:00:00.000Z\tinfo\taccess:outbound{id=0af7651916cd43dd8448eb211c80319c}\tconnection complete\t' +
      `${ends}direction="outbound" bytes_sent=84 bytes_recv=1553 duration="12ms"\n`,
  ]);
});

test('an inbound connection counts bytes from the server’s view', (t) => {
  const [line = ''] = lineOf('text', 'info', (logger) => {
    logConnectionEnd(logger, { ...outbound, direction: 'inbound', tlsGroup: 'X25519MLKEM768' });
  });
  const tail = 'bytes_sent=1553 bytes_recv=84 duration="12ms" tls.group="X25519MLKEM768"\n';
  t.true(line.endsWith(`direction="inbound" ${tail}`));
});

test('a failed connection is an error with its causes', (t) => {
  const cause = new Error('connection refused');
  const error = new MeshError('ERR_UPSTREAM_CONNECT', 'upstream', 'Cannot connect', { cause });
  const [line = ''] = lineOf('text', 'info', (logger) => {
    logConnectionEnd(logger, { ...outbound, error });
  });
  t.regex(line, /\terror\taccess:outbound\{id=\w+\}\tconnection complete\t/);
  t.true(line.endsWith('duration="12ms" error="Cannot connect: connection refused"\n'));
});

test('what is not known is left out', (t) => {
  const [line = ''] = lineOf('json', 'info', (logger) => {
    logConnectionEnd(logger, {
      ...outbound,
      source: { address: outbound.source.address },
      destination: { address: outbound.destination.address },
    });
  });
  const { 'src.addr': src, ...rest } = JSON.parse(line) as Record<string, unknown>;
  t.is(src, '10.0.0.1:40000');
  t.deepEqual(Object.keys(rest), [
    ...['level', 'time', 'scope', 'message', 'dst.addr', 'direction'],
    ...['bytes_sent', 'bytes_recv', 'duration', 'outbound'],
  ]);
});

test('an opened connection is told at debug level alone', (t) => {
  const opened: typeof logTo = (logger) => {
    logConnectionOpened(logger, outbound);
  };
  t.deepEqual(lineOf('text', 'info', opened), []);
  t.deepEqual(lineOf('text', 'info,access=debug', opened), [
    `1970-01-01T00:00:00.000Z\tdebug\taccess:outbound{id=0af7651916cd43dd8448eb211c80319c}\tconnection opened\t${ends}direction="outbound"\n`,
  ]);
});

test('a connection refused early leaves a warning with its addresses', (t) => {
  const lines = lineOf('text', 'info', (logger) => {
    logConnectionRejected(logger, {
      direction: 'inbound',
      sourceAddress: outbound.source.address,
      destinationAddress: outbound.destination.address,
      error: new Error('no certificate'),
    });
  });
  t.deepEqual(lines, [
    '1970-01-01T00:00:00.000Z\twarn\taccess\tconnection failed\t' +
      'src.addr=10.0.0.1:40000 dst.addr=10.0.1.2:15008 direction="inbound" error="no certificate"\n',
  ]);
});

test('nothing is written when the scope is off', (t) => {
  t.deepEqual(lineOf('text', 'info,access=off', logTo), []);
});

test('a trace id is not asked for where no line is written', (t) => {
  const trace = {
    get traceId(): string {
      return (t.fail('asked for'), '');
    },
  };
  const quiet: typeof logTo = (logger) => {
    logConnectionOpened(logger, { ...outbound, trace });
    logConnectionEnd(logger, { ...outbound, trace });
  };
  t.deepEqual(lineOf('text', 'info,access=off', quiet), []);
});

test('what a peer has not said of its workload is left out', (t) => {
  const nothing = { name: '', namespace: '', clusterId: '' };
  const [line = ''] = lineOf('text', 'info', (logger) => {
    const source = { ...outbound.source, workload: testWorkload('client-1', nothing) };
    logConnectionEnd(logger, { ...outbound, source });
  });
  t.notRegex(line, /src\.(?:workload|namespace|cluster)=/);
});
