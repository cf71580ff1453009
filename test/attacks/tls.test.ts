import { createPublicKey, generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import { setImmediate as nextRound } from 'node:timers/promises';
import tls from 'node:tls';
import test, { type ExecutionContext } from 'ava';
import { parseIpAddress, socketAddress } from '../../base/address.ts';
import { derOid, derSequence, derUnsigned, der } from '../../base/der-write.ts';
import { Tag } from '../../base/der.ts';
import { makeBasicConstraints } from '../../certs/issue.ts';
import { type KeyPair, publicKeyDer } from '../../certs/keys.ts';
import { Oid } from '../../certs/oids.ts';
import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';
import { connectTcp } from '../../net/tcp.ts';
import { listenTcp } from '../../net/tcp-listener.ts';
import { acceptTls, connectTls } from '../../net/tls.ts';
import { TlsContext } from '../../net/tls-context.ts';
import type { TlsSession } from '../../net/tls-session.ts';
import { watchedDescriptors } from '../../net/reactor.ts';
import { forge, forgeIntermediate, type Forgery } from '../support/forged.ts';
import { mismatchedKeys, signAgain } from '../support/odd-keys.ts';
import { makeTestCa, type TestCa } from '../support/test-ca.ts';

const CLIENT = 'spiffe://cluster.local/ns/shop/sa/client';
const SERVER = 'spiffe://cluster.local/ns/shop/sa/server';
const ca = makeTestCa();
const good = forge(ca, CLIENT);
const address = { ip: parseIpAddress('127.0.0.1'), port: 0 };

/** A server of ours; `outcomes` has one word for each handshake that ended: `open` or the reason. */
class Server implements AsyncDisposable {
  readonly outcomes: string[] = [];
  readonly #sessions: TlsSession[] = [];
  readonly #context: TlsContext;
  readonly #listener = listenTcp({ address, backlog: 512 }, (stream) => {
    const done = acceptTls(stream, this.#context, { timeoutMs: 2_000 }).then(
      (session) => {
        this.#sessions.push(session);
        this.outcomes.push('open');
      },
      (error: unknown) => {
        this.outcomes.push(String(error));
      },
    );
    this.#handshakes.push(done);
  });
  readonly #handshakes: Promise<void>[] = [];
  readonly port = this.#listener.local.port;

  constructor(rootsPem: readonly string[] = [ca.rootPem]) {
    this.#context = new TlsContext({ ...forge(ca, SERVER), rootsPem });
  }

  /** Waits until so many handshakes have ended. */
  async ended(count: number): Promise<readonly string[]> {
    while (this.#handshakes.length < count) await nextRound();
    await Promise.all(this.#handshakes);
    return this.outcomes;
  }

  /** The process lives, and this server serves who is right. */
  async expectAlive(t: ExecutionContext): Promise<void> {
    using context = new TlsContext(good);
    const session = await connectTls(
      await connectTcp(socketAddress('127.0.0.1', this.port)),
      context,
    );
    t.is(session.alpn, 'h2');
    session.reset();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await Promise.all(this.#handshakes);
    for (const session of this.#sessions) session.reset();
    this.#context.free();
  }
}

/** Node's own client, at its most permissive; resolves when the server has ended it, or with the session's own end. */
async function dialNode(port: number, options: tls.ConnectionOptions): Promise<void> {
  await closed(connectNode(port, options));
}

function connectNode(port: number, options: tls.ConnectionOptions): tls.TLSSocket {
  const socket = tls.connect({
    ...{ port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] },
    ...{ key: good.privateKeyPem, cert: good.chainPem.join('') },
    ...options,
  });
  socket.on('error', () => undefined);
  socket.resume();
  return socket;
}

const offers: Readonly<Record<string, tls.ConnectionOptions>> = {
  'TLS 1.0': { minVersion: 'TLSv1', maxVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' },
  'TLS 1.1': { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' },
  'TLS 1.2': { maxVersion: 'TLSv1.2' },
  'no protocol': { ALPNProtocols: [] },
  'http/1.1': { ALPNProtocols: ['http/1.1'] },
  'a protocol with NUL': { ALPNProtocols: ['h2\0'] },
  '100 protocols, none of them ours': {
    ALPNProtocols: Array.from({ length: 100 }, (_, index) => `p${index}`),
  },
};
for (const [what, options] of Object.entries(offers))
  test.serial(`T13: a client that offers ${what} is refused`, async (t) => {
    await using server = new Server();
    await dialNode(server.port, options);
    const [outcome] = await server.ended(1);
    t.regex(outcome ?? '', /ERR_TLS_HANDSHAKE|Cannot agree on TLS/);
    await server.expectAlive(t);
  });

test.serial(
  'T13: a ClientHello with any byte changed, or cut anywhere, ends no process',
  async (t) => {
    await using server = new Server();
    const hello = await captureHello();
    const variants: Buffer[] = [];
    for (let at = 0; at < hello.length; at += 7) {
      const changed = Buffer.from(hello);
      changed[at] = (changed[at] ?? 0) ^ 0xff;
      variants.push(changed);
    }
    for (let length = 1; length < hello.length; length += 97)
      variants.push(hello.subarray(0, length));
    await Promise.all(
      variants.map(async (bytes) => {
        const socket = net.connect(server.port, '127.0.0.1');
        socket.on('error', () => undefined);
        socket.resume();
        socket.end(bytes);
        await closed(socket);
      }),
    );
    const outcomes = await server.ended(variants.length);
    t.true(outcomes.length >= variants.length);
    t.false(outcomes.includes('open'));
    await server.expectAlive(t);
  },
);

for (const [what, name] of [
  ['of 247 letters', 'a'.repeat(247)],
  ['that is an address', '127.0.0.1'],
  ['with a line break', 'a\r\nb'],
] as const)
  test.serial(`T13: a server name ${what} is not looked at`, async (t) => {
    await using server = new Server();
    const hello = await captureHello(PLACEHOLDER);
    // Written into the bytes, for a client library would refuse it: of the same length, so that no length changes.
    const at = hello.indexOf(PLACEHOLDER);
    hello.write(name.padEnd(PLACEHOLDER.length, '\n').slice(0, PLACEHOLDER.length), at, 'latin1');
    const socket = net.connect(server.port, '127.0.0.1');
    socket.write(hello);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    t.is(answer[0], 22, 'a ServerHello, as for any other name');
    socket.destroy();
    await server.ended(1);
    await server.expectAlive(t);
  });

/** An error before it is part of it. */
function closed(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => {
    socket.once('close', () => {
      resolve();
    });
  });
}

const PLACEHOLDER = `${'placeholder.'.repeat(20)}example`;

/** The first record of a client of Node's. */
async function captureHello(servername = 'name.example'): Promise<Buffer> {
  const listener = net.createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as net.AddressInfo;
  const client = tls.connect({ port, host: '127.0.0.1', servername, ALPNProtocols: ['h2'] });
  client.on('error', () => undefined);
  const [socket] = (await once(listener, 'connection')) as [net.Socket];
  const [hello] = (await once(socket, 'data')) as [Buffer];
  socket.destroy();
  client.destroy();
  listener.close();
  return hello;
}

/** The leaf below `ca` with that signature. */
function signedBadly(
  by: TestCa,
  algorithm: Uint8Array,
  signature: (body: Buffer) => Uint8Array,
): WorkloadCertificate {
  const leaf = forge(by, CLIENT);
  const [pem = '', ...others] = leaf.chainPem;
  return { ...leaf, chainPem: [signAgain(pem, algorithm, signature), ...others] };
}

/** A signature of ECDSA with these numbers. */
const ecdsa = (r: bigint, s: bigint): Buffer =>
  derSequence(
    ...[r, s].map((value) =>
      derUnsigned(Buffer.from(value.toString(16).padStart(66, '0').slice(-66), 'hex')),
    ),
  );
const ECDSA_SHA256 = derSequence(derOid(Oid.ecdsaWithSha256));
/** The order of P-256. SEC 2 section 2.4.2. */
const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const rsaAlgorithm = (oid: string): Buffer => derSequence(derOid(oid), der(Tag.null));
const rsaCa = makeTestCa({ key: 'rsa' });
const rsaKeys = (modulusLength: number): Forgery => ({
  keys: generateKeyPairSync('rsa', { modulusLength }),
});
const onCurve = (namedCurve: string): Forgery => ({
  keys: generateKeyPairSync('ec', { namedCurve }),
});
const intermediateWith = (keys: KeyPair): WorkloadCertificate => {
  const { pem, signer } = forgeIntermediate(ca.signer, [makeBasicConstraints(true)], keys);
  return forge(ca, CLIENT, { signer, intermediatesPem: [pem] });
};

/** SubjectPublicKeyInfo of P-256 with a point that is on no curve. */
function offCurveIntermediate(): WorkloadCertificate {
  const { pem, signer } = forgeIntermediate(ca.signer, [makeBasicConstraints(true)]);
  const point = publicKeyDer(createPublicKey(signer.privateKey));
  const broken = Buffer.from(point);
  broken[broken.length - 1] = (broken.at(-1) ?? 0) ^ 1;
  const changed = signAgain(pem, ECDSA_SHA256, (body) => {
    body.set(broken, body.indexOf(point));
    return sign('sha256', body, ca.signer.privateKey);
  });
  return forge(ca, CLIENT, { signer, intermediatesPem: [changed] });
}

const weak: Readonly<Record<string, () => WorkloadCertificate>> = {
  'RSA of 512 bits': () => forge(ca, CLIENT, rsaKeys(512)),
  'RSA of 1024 bits': () => forge(ca, CLIENT, rsaKeys(1024)),
  'a key on P-224': () => forge(ca, CLIENT, onCurve('secp224r1')),
  'a key on secp256k1': () => forge(ca, CLIENT, onCurve('secp256k1')),
  'an intermediate with RSA of 1024 bits': () =>
    intermediateWith(generateKeyPairSync('rsa', { modulusLength: 1024 })),
  'an intermediate with explicit curve parameters': () =>
    intermediateWith(generateKeyPairSync('ec', { namedCurve: 'P-256', paramEncoding: 'explicit' })),
  'an intermediate whose point is off the curve': offCurveIntermediate,
  'a signature of ECDSA and SHA-1': () =>
    signedBadly(ca, derSequence(derOid('1.2.840.10045.4.1')), (body) =>
      sign('sha1', body, ca.signer.privateKey),
    ),
  'a signature of RSA and SHA-1': () =>
    signedBadly(rsaCa, rsaAlgorithm('1.2.840.113549.1.1.5'), (body) =>
      sign('sha1', body, rsaCa.signer.privateKey),
    ),
  'a signature of RSA and MD5': () =>
    signedBadly(rsaCa, rsaAlgorithm('1.2.840.113549.1.1.4'), (body) =>
      sign('md5', body, rsaCa.signer.privateKey),
    ),
  'a signature whose numbers are 0': () => signedBadly(ca, ECDSA_SHA256, () => ecdsa(0n, 0n)),
  'a signature whose numbers are 1': () => signedBadly(ca, ECDSA_SHA256, () => ecdsa(1n, 1n)),
  'a signature whose numbers are the order of the curve': () =>
    signedBadly(ca, ECDSA_SHA256, () => ecdsa(P256_ORDER, P256_ORDER)),
  'an empty signature': () => signedBadly(ca, ECDSA_SHA256, () => Buffer.alloc(0)),
  'a handshake that another key signed': () => forge(ca, CLIENT, { keys: mismatchedKeys() }),
};
for (const [what, make] of Object.entries(weak))
  test.serial(`T8: a client with ${what} is refused`, async (t) => {
    await using server = new Server([ca.rootPem, rsaCa.rootPem]);
    const { privateKeyPem, chainPem } = make();
    const weakest = {
      ciphers: 'DEFAULT@SECLEVEL=0',
      sigalgs: 'RSA+SHA256:ECDSA+SHA256:rsa_pss_rsae_sha256',
    };
    const options = { key: privateKeyPem, cert: chainPem.join(''), ...weakest };
    const socket = connectNode(server.port, options);
    const [outcome] = await server.ended(1);
    socket.destroy();
    t.regex(outcome ?? '', /Cannot agree on TLS/);
    await server.expectAlive(t);
  });

test.serial(
  'T16: no session can be taken up again, by whoever: there are no tickets and no early data',
  async (t) => {
    await using server = new Server();
    let tickets = 0;
    const socket = tls.connect({
      ...{ port: server.port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] },
      ...{ key: good.privateKeyPem, cert: good.chainPem.join('') },
    });
    socket.on('error', () => undefined);
    socket.on('session', () => tickets++);
    await once(socket, 'secureConnect');
    await server.ended(1);
    const session = socket.getSession();
    socket.destroy();
    t.is(tickets, 0);
    // Another identity offers the session all the same.
    const other = forge(ca, 'spiffe://cluster.local/ns/shop/sa/other');
    const second = tls.connect({
      ...{ port: server.port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] },
      ...{ key: other.privateKeyPem, cert: other.chainPem.join(''), ...(session && { session }) },
    });
    second.on('error', () => undefined);
    await once(second, 'secureConnect');
    t.false(second.isSessionReused());
    await server.ended(2);
    second.destroy();
  },
);

test.serial('T13: afterwards nothing is watched any more', async (t) => {
  while (watchedDescriptors() > 0) await nextRound();
  t.pass();
});
