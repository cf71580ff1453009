import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import test from 'ava';
import { decodeTargetSecurity, TARGET_SECURITY_TYPE } from '../../mesh/xds/codec-http-policy.ts';
import { JwtAuthenticator } from '../../waypoint/jwt.ts';
import { JWT_ISSUER, makeJwtSigner, type JwtSigner } from '../support/jwt.ts';
import { gatewayYaml, serviceYaml, TestControlPlane } from './support/control-plane.ts';
import { connectWaypoint, waypointNode, type XdsClient } from './support/xds-client.ts';

const signer = await makeJwtSigner();
const successor = await makeJwtSigner('k2');
const stranger = await makeJwtSigner();

/** An issuer that publishes keys of its own, and may go and come back under the same address. */
class KeyServer implements AsyncDisposable {
  keys: readonly JwtSigner[] = [signer];
  #server: Server | undefined;
  #port = 0;

  get uri(): string {
    return `http://127.0.0.1:${this.#port}/keys`;
  }

  async start(): Promise<void> {
    const server = createServer((_, response) => {
      response.end(JSON.stringify({ keys: this.keys.map(({ jwk }) => jwk) }));
    });
    await once(server.listen(this.#port, '127.0.0.1'), 'listening');
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    server.close();
    server.closeAllConnections();
    await once(server, 'close');
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

const authenticationYaml = (uri: string): string => `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: web }]
  jwtRules: [{ issuer: "${JWT_ISSUER}", jwksUri: "${uri}" }]
`;

const ALLOWED = { JWKS_ALLOWED_HOSTS: '127.0.0.1' };

/** How tokens of the signers are judged by what a waypoint is told next. */
async function judgeNext(
  client: XdsClient,
  signers: readonly JwtSigner[],
): Promise<readonly string[]> {
  const response = await client.next();
  client.acknowledge(response);
  const rules = response.resources.flatMap(
    ({ resource }) => decodeTargetSecurity(resource?.value ?? new Uint8Array()).authentications,
  );
  const authenticator = new JwtAuthenticator(rules);
  const outcomes = signers.map(async (each) => {
    const headers = ['authorization', `Bearer ${await each.sign()}`];
    const outcome = await authenticator.authenticate(headers, Date.now());
    return outcome.kind;
  });
  return Promise.all(outcomes);
}

/** Asks as the waypoint does that has just connected. */
async function ask(plane: TestControlPlane): Promise<XdsClient> {
  const client = await connectWaypoint(plane, 'one');
  client.send({ node: waypointNode('one'), typeUrl: TARGET_SECURITY_TYPE });
  return client;
}

/** A control plane for a service whose tokens the issuer signs, stopped after the keys had come to a waypoint. */
async function planeWithKeptKeys(issuer: KeyServer): Promise<TestControlPlane> {
  await issuer.start();
  const plane = new TestControlPlane();
  plane.write('web.yaml', gatewayYaml('one') + serviceYaml('web', '10.96.0.1', 'one'));
  plane.write('tokens.yaml', authenticationYaml(issuer.uri));
  await plane.start(ALLOWED);
  {
    using client = await ask(plane);
    while ((await judgeNext(client, [signer]))[0] !== 'verified');
  }
  await plane.stop();
  return plane;
}

test('a control plane that restarts while an issuer is away has tokens judged as before (J3)', async (t) => {
  await using issuer = new KeyServer();
  await using plane = await planeWithKeptKeys(issuer);
  await issuer.stop();
  await plane.start(ALLOWED);
  using client = await ask(plane);
  t.deepEqual(await judgeNext(client, [signer, stranger]), ['verified', 'refused']);
});

test('a file of kept keys that is broken is told, and no token is right until the issuer is back (J3)', async (t) => {
  await using issuer = new KeyServer();
  await using plane = await planeWithKeptKeys(issuer);
  await issuer.stop();
  const [name = 'none'] = readdirSync(plane.path('status/key-sets'));
  writeFileSync(plane.path(`status/key-sets/${name}`), '{"source":');
  await plane.start(ALLOWED);
  using client = await ask(plane);
  t.deepEqual(await judgeNext(client, [signer]), ['refused']);
  t.regex(
    plane.lines.join(''),
    /Cannot use [^ ]*key-sets\/[^ ]*, which keeps the keys of uri http/,
  );
});

test('keys that the issuer rotated while the control plane was away are replaced by the first fetch', async (t) => {
  await using issuer = new KeyServer();
  await using plane = await planeWithKeptKeys(issuer);
  issuer.keys = [successor];
  await plane.start(ALLOWED);
  using client = await ask(plane);
  let judged = await judgeNext(client, [signer, successor]);
  // What was kept, unless the fetch was faster than the waypoint.
  if (judged[0] === 'verified') judged = await judgeNext(client, [signer, successor]);
  t.deepEqual(judged, ['refused', 'verified']);
});

test('kept keys of an address that no RequestAuthentication names any more go away', async (t) => {
  await using issuer = new KeyServer();
  await using plane = await planeWithKeptKeys(issuer);
  t.is(readdirSync(plane.path('status/key-sets')).length, 1);
  plane.remove('tokens.yaml');
  await plane.start(ALLOWED);
  t.deepEqual(readdirSync(plane.path('status/key-sets')), []);
});

test('while a part of the configuration was never read, kept keys stay that only this part may name', async (t) => {
  await using issuer = new KeyServer();
  await using plane = await planeWithKeptKeys(issuer);
  await issuer.stop();
  plane.remove('tokens.yaml');
  const missing = plane.path('other');
  await plane.start({ ...ALLOWED, CONFIG_DIRS: `${plane.path('config')}:${missing}` });
  t.is(readdirSync(plane.path('status/key-sets')).length, 1);
  // A change just before, so that what follows is joined with others.
  plane.write('more.yaml', serviceYaml('more', '10.96.0.2'));
  await plane.running.refresh();
  plane.write('../other/tokens.yaml', authenticationYaml(issuer.uri));
  await plane.running.refresh();
  // Before anybody is served, not soon after.
  t.truthy(plane.running.snapshot.keysOf({ kind: 'uri', uri: issuer.uri }));
  using client = await ask(plane);
  t.deepEqual(await judgeNext(client, [signer]), ['verified']);
});
