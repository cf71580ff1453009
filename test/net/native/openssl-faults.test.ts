import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import test, { type ExecutionContext } from 'ava';
import { MeshError } from '../../../base/errors.ts';
import { allocateShared } from '../../../net/native/memory.ts';
import { type openssl, replaceCall } from '../../../net/native/openssl-library.ts';
import { dropOutput, outputLength, Ssl, WANT } from '../../../net/native/openssl-session.ts';
import { TlsContext } from '../../../net/tls-context.ts';
import { acceptTls } from '../../../net/tls.ts';
import { tcpPair } from '../../support/tcp-pair.ts';
import { openDescriptors } from '../../support/memory.ts';
import { nativeTls } from '../../support/native-tls.ts';
import { makeTestCa } from '../../support/test-ca.ts';

const { certificate, freeContext, makeContext, withPair } = nativeTls(
  makeTestCa({ intermediates: 1 }),
);

type Name = keyof typeof openssl;
/** What stands for "no memory" or "refused" in each kind of result. */
const NOTHING = 0n;

/** With that call giving nothing, `action` is an error that can be caught; without, it works again. */
function expectError<Call extends Name>(
  t: ExecutionContext,
  name: Call,
  value: ReturnType<(typeof openssl)[Call]>,
  action: () => void,
): void {
  {
    let called = 0;
    using _fault = replaceCall(name, () => {
      called++;
      return value;
    });
    const error = t.throws<MeshError>(action, { instanceOf: MeshError }, name);
    t.true(['ERR_OPENSSL', 'ERR_CERTIFICATE'].includes(error.code), error.message);
    t.true(called > 0, `${name} is not called`);
  }
  t.notThrows(action, `${name} works again`);
}

const freeSession = (descriptor?: number) => (): void => {
  const context = makeContext();
  try {
    new Ssl(context, 'server', descriptor).free();
  } finally {
    context.free();
  }
};

for (const name of [
  'TLS_method',
  'SSL_CTX_new',
  'SSL_CTX_get_cert_store',
  'BIO_new_mem_buf',
  'PEM_read_bio_X509',
  'PEM_read_bio_PrivateKey',
] as const)
  test(`no context is made when ${name} gives NULL`, (t) => {
    expectError(t, name, NOTHING, freeContext);
  });

for (const [name, value] of [
  ['SSL_CTX_ctrl', 0n],
  ['SSL_CTX_set_num_tickets', 0],
  ['SSL_CTX_set_ciphersuites', 0],
  ['SSL_CTX_set_alpn_protos', 1],
  ['SSL_CTX_use_certificate', 0],
  ['SSL_CTX_use_PrivateKey', 0],
  ['SSL_CTX_check_private_key', 0],
  ['X509_STORE_add_cert', 0],
] as const)
  test(`no context is made when ${name} refuses`, (t) => {
    expectError(t, name, value, freeContext);
  });

test('no session is made when its memory cannot be had', (t) => {
  expectError(t, 'SSL_new', NOTHING, freeSession());
  expectError(t, 'BIO_new', NOTHING, freeSession());
  expectError(t, 'BIO_new_socket', NOTHING, freeSession(0));
});

for (const [name, value] of [
  ['OPENSSL_sk_value', NOTHING],
  ['GENERAL_NAME_get0_value', NOTHING],
  ['ASN1_STRING_get0_data', NOTHING],
] as const)
  test(`a peer's certificate is not half read when ${name} gives nothing`, (t) => {
    withPair(({ server }) => {
      expectError(t, name, value, () => server.peerCertificate());
    });
  });

test('a peer whose certificate or chain cannot be had is nobody', (t) => {
  withPair(({ server }) => {
    expectError(t, 'SSL_get0_verified_chain', NOTHING, () => server.peerChain());
    expectError(t, 'i2d_X509', -1, () => server.peerChain());
    using _fault = replaceCall('SSL_get1_peer_certificate', () => NOTHING);
    t.is(server.peerCertificate(), undefined);
  });
});

test('names that cannot be decoded for want of memory are not readable, rather than none', (t) => {
  withPair(({ server }) => {
    using _fault = replaceCall('X509_get_ext_d2i', () => NOTHING);
    const facts = server.peerCertificate();
    t.like(facts, { uris: [], namesReadable: false });
  });
});

test('a lifetime that cannot be read is endless, rather than none', (t) => {
  withPair(({ server }) => {
    t.is(server.peerCertificate()?.lifetimeMs, 62 * 60_000);
    using _fault = replaceCall('ASN1_TIME_diff', () => 0);
    t.is(server.peerCertificate()?.lifetimeMs, Number.POSITIVE_INFINITY);
  });
});

test('texts that OpenSSL does not give are empty', (t) => {
  withPair(({ client }) => {
    for (const name of [
      'SSL_CIPHER_get_name',
      'SSL_get0_group_name',
      'SSL_get_current_cipher',
    ] as const) {
      using _fault = replaceCall(name, () => NOTHING);
      t.true(['', '(NONE)', 'x25519', 'TLS_AES_128_GCM_SHA256'].includes(client.cipher));
      t.true(['', 'x25519'].includes(client.group));
    }
  });
});

test('a failure without a reason is a failure all the same', (t) => {
  const context = makeContext();
  const client = new Ssl(context, 'client', undefined);
  using _text = replaceCall('ERR_reason_error_string', () => NOTHING);
  const junk = allocateShared(64);
  junk.buffer.fill(0x41);
  t.is(client.handshake(), WANT);
  dropOutput(outputLength());
  client.feed(junk, 0, 64);
  t.is(client.handshake(), -2);
  t.not(client.failure, '');
  client.free();
  context.free();
});

test('an input that OpenSSL has no memory for is not taken', (t) => {
  withPair(({ server }) => {
    using _fault = replaceCall('BIO_write', () => -1);
    t.is(server.feed(allocateShared(16), 0, 16), 0);
  });
});

for (const [offset, length] of [
  [-1, 4],
  [0, -1],
  [0, 17],
  [16, 1],
  [2 ** 31, 1],
  [0.5, 1],
  [0, 1.5],
  [Number.NaN, 1],
  [0, Number.NaN],
  [0, 2 ** 53],
  [0, Number.POSITIVE_INFINITY],
] as const)
  test(`a session does not touch bytes ${offset}+${length} of 16`, (t) => {
    withPair(({ client }) => {
      const bytes = allocateShared(16);
      t.throws(() => client.feed(bytes, offset, length));
      t.throws(() => client.read(bytes, offset, length));
      t.throws(() => client.write(bytes, offset, length));
      t.is(client.write(bytes, 0, 16), 16); // and it goes on
      dropOutput(outputLength());
    });
  });

test('a session that was freed, twice too, answers with errors', (t) => {
  withPair(({ client }) => {
    client.free();
    client.free();
    const bytes = allocateShared(16);
    t.is(client.handshake(), -2);
    t.is(client.read(bytes, 0, 16), -2);
    t.is(client.write(bytes, 0, 16), -2);
    t.is(client.feed(bytes, 0, 16), 0);
    client.shutdown();
    for (const ask of [
      () => client.alpn,
      () => client.cipher,
      () => client.group,
      () => client.peerCertificate(),
      () => client.peerChain(),
    ])
      t.throws(ask, { message: /was freed/ });
  });
});

test('a session before its handshake answers with nothing', (t) => {
  const context = makeContext();
  const session = new Ssl(context, 'server', undefined);
  t.is(session.alpn, '');
  t.is(session.group, '');
  t.is(session.peerCertificate(), undefined);
  t.throws(() => session.peerChain(), { code: 'ERR_OPENSSL' });
  session.free();
  context.free();
});

test('a context that was freed, twice too, is an error to whoever uses it', (t) => {
  const context = makeContext();
  context.free();
  context.free();
  t.throws(() => context.address, { message: /was freed/ });
  t.throws(() => new Ssl(context, 'client', undefined), { message: /was freed/ });
});

test('a connection whose session cannot be made is reset, and its deadline finds nothing', async (t) => {
  using context = new TlsContext(certificate);
  const { ours, theirs } = await tcpPair(t);
  const before = openDescriptors();
  const told = once(theirs, 'error');
  const timeoutMs = 50;
  {
    using _fault = replaceCall('SSL_new', () => NOTHING);
    await t.throwsAsync(acceptTls(ours, context, { timeoutMs }), { code: 'ERR_OPENSSL' });
  }
  t.like(await told, { 0: { code: 'ECONNRESET' } });
  await pause(2 * timeoutMs); // an exception of the timer would end the process
  t.is(openDescriptors(), before - 2); // both ends
});
