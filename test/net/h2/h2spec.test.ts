import test, { type ExecutionContext } from 'ava';
import { parseIpAddress, socketAddress, type SocketAddress } from '../../../base/address.ts';
import { HBONE_PORT } from '../../../mesh/model/ports.ts';
import { Http2Connection } from '../../../net/h2/connection.ts';
import { MIN_FRAME_BYTES } from '../../../net/h2/limits.ts';
import type { Http2Options } from '../../../net/h2/options.ts';
import type { Http2Stream } from '../../../net/h2/stream.ts';
import { listenTcp } from '../../../net/tcp-listener.ts';
import { TlsContext } from '../../../net/tls-context.ts';
import { acceptTls } from '../../../net/tls.ts';
import { openCertificateRelay } from '../../support/certificate-relay.ts';
import { shared } from '../../support/collect.ts';
import { runH2spec } from '../../support/h2spec.ts';
import { CLIENT, SERVER } from '../../support/hbone-peer.ts';
import { makeTestCa, type TestCa } from '../../support/test-ca.ts';
import { TestNode } from '../../support/ztunnel-pods.ts';

const hello = shared('hello');

/** Answers as h2spec wants it: 200 with a body, when the request is complete. */
function answer(stream: Http2Stream): void {
  stream.setSink({
    capacity: () => 1 << 20,
    onData: (_bytes, _offset, length) => length,
    onEnd() {
      stream.respond([':status', '200']);
      send(0);
    },
    onError: () => undefined,
    onWritable() {
      send(stream.bytesWritten);
    },
  });
  const send = (from: number): void => {
    stream.write(hello.bytes, 9 + from, hello.length - from);
    if (stream.bytesWritten === hello.length) stream.end();
  };
}

/** A server on the engine, over mutual TLS. */
function serve(t: ExecutionContext, ca: TestCa): SocketAddress {
  const context = new TlsContext(ca.issue(SERVER));
  const any = { address: { ip: parseIpAddress('127.0.0.1'), port: 0 } };
  const listener = listenTcp(any, (socket) => {
    void acceptTls(socket, context)
      .then((tls) => Http2Connection.server(tls, http2, { onRequest: answer }))
      .catch(() => undefined);
  });
  t.teardown(() => {
    listener.close();
  });
  return socketAddress('127.0.0.1', listener.local.port);
}

/** h2spec takes the frame size that the RFC presumes for every server's. */
const http2: Http2Options = { maxFrameBytes: MIN_FRAME_BYTES };

test.serial(
  'H15: a server over TLS passes every case of h2spec, the strict ones too',
  async (t) => {
    const ca = makeTestCa();
    const context = new TlsContext(ca.issue(CLIENT));
    const { passed, failed, skipped } = await runH2spec(
      await openCertificateRelay(t, context, serve(t, ca)),
    );
    t.deepEqual(failed, []);
    t.deepEqual(skipped, []);
    t.is(passed.length, 146);
  },
);

/** A request that is no CONNECT is refused without a body: h2spec skips these cases when it finds that out. */
const SKIPPED_WITHOUT_A_BODY = [
  'http2/6.5.3 Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE',
  'http2/6.9.1 Sends SETTINGS frame to set the initial window size to 1 and sends HEADERS frame',
  'http2/6.9.2 Changes SETTINGS_INITIAL_WINDOW_SIZE after sending HEADERS frame',
  'http2/6.9.2 Sends a SETTINGS frame for window size to be negative',
];
/** And these wait in vain for a frame of it. */
const WAIT_FOR_A_BODY = [
  'generic/2 Sends a WINDOW_UPDATE frame on half-closed (remote) stream',
  'generic/2 Sends a PRIORITY frame on half-closed (remote) stream',
];

test.serial('H15: port 15008 fails no case of h2spec that needs no response body', async (t) => {
  const node = await TestNode.open(t, { serverHttp2: http2 });
  const client = node.addPlain({ name: 'client' });
  const server = node.addPod({ name: 'server' });
  const context = new TlsContext(node.ca.issue(CLIENT));
  const target = { ip: server.ip, port: HBONE_PORT };
  const { passed, failed, skipped } = await runH2spec(
    await openCertificateRelay(t, context, target, { netns: client.netns }),
  );
  t.deepEqual(failed, WAIT_FOR_A_BODY);
  t.deepEqual(skipped, SKIPPED_WITHOUT_A_BODY);
  t.is(passed.length, 140);
});
