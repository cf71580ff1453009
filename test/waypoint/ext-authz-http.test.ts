/** External authorization over HTTP, against a real server. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { socketAddress } from '../../base/address.ts';
import { resetSocket } from '../../base/reset-socket.ts';
import type { ExternalAuthorizer, HttpAuthorization } from '../../mesh/model/http-policy.ts';
import { ExternalAuthorizerClient } from '../../waypoint/ext-authz.ts';
import { AuthorizerClients } from '../../waypoint/ext-authz/clients.ts';
import type { AuthorizationQuestion } from '../../waypoint/ext-authz/question.ts';
import { httpPolicies, makeAuthorizer } from '../support/http-policies.ts';

type Asked = Readonly<{ method: string; url: string; headers: string[]; body: string }>;

const HTTP: HttpAuthorization = {
  pathPrefix: '/check',
  additionalHeaders: [{ name: 'x-mesh', value: 'shop' }],
  headersToUpstreamOnAllow: ['x-user', 'x-role-*'],
  headersToDownstreamOnDeny: [],
  headersToDownstreamOnAllow: ['set-cookie'],
};

const headers = [
  ...[':method', 'POST', ':scheme', 'http', ':authority', 'web', ':path', '/a?b=c'],
  ...['x-shown', '1', 'x-secret', '2', 'x-shown', '3', 'authorization', 'Basic x', 'cookie', 'a=1'],
  ...['x-user', 'forged', 'x-mesh', 'forged', 'content-length', '5', 'te', 'trailers'],
];
const question: AuthorizationQuestion = {
  ...{ id: 'id-1', headers, protocol: 'HTTP/1.1', sni: '' },
  source: { address: socketAddress('10.0.0.1', 4711) },
  destination: { address: socketAddress('10.0.0.2', 80) },
};

/** An authorizer that answers as it is told; what it was asked is kept. */
async function start(
  t: ExecutionContext,
  answer: (response: ServerResponse, request: IncomingMessage) => void,
  fields: Partial<ExternalAuthorizer> = {},
  http: Partial<HttpAuthorization> = {},
): Promise<{ client: ExternalAuthorizerClient; asked: Asked[]; connections: () => number }> {
  const asked: Asked[] = [];
  let connections = 0;
  const server = createServer((request, response) => {
    let body = '';
    request.on('data', (part: Buffer) => (body += part.toString('latin1')));
    request.on('end', () => {
      const { method = '', url = '', rawHeaders } = request;
      asked.push({ method, url, headers: rawHeaders, body });
      answer(response, request);
    });
  })
    .on('connection', () => connections++)
    .listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = new ExternalAuthorizerClient(
    makeAuthorizer({ port, includeHeaders: ['x-shown'], http: { ...HTTP, ...http }, ...fields }),
  );
  t.teardown(() => {
    client[Symbol.dispose]();
    server.closeAllConnections();
    server.close();
  });
  return { client, asked, connections: () => connections };
}

test('an authorizer gets the request’s head as far as it is configured, and 200 lets it go on', async (t) => {
  const { client, asked, connections } = await start(t, (response) => {
    response.writeHead(200, [
      ...['X-User', 'alice', 'x-role-admin', 'y', 'x-other', 'kept out', 'set-cookie', 's=1'],
      ...['set-cookie', 't=2', 'x-bad', 'a', 'content-length', '4'],
    ]);
    response.end('body');
  });
  t.deepEqual(await client.check(question), {
    kind: 'allow',
    headers: [
      ...headers.slice(0, 18),
      ...['x-mesh', 'forged', 'content-length', '5', 'te', 'trailers'],
      ...['x-user', 'alice', 'x-role-admin', 'y'],
    ],
    responseHeaders: ['set-cookie', 's=1', 'set-cookie', 't=2'],
  });
  t.deepEqual(asked, [
    {
      ...{ method: 'POST', url: '/check/a?b=c', body: '' },
      headers: [
        ...['host', 'web', 'x-shown', '1', 'x-shown', '3', 'authorization', 'Basic x'],
        ...['x-mesh', 'shop', 'content-length', '0', 'Connection', 'keep-alive'],
      ],
    },
  ]);
  await client.check(question);
  t.is(connections(), 1, 'a connection is used again');
});

test('any other status below 500 is the client’s answer', async (t) => {
  const { client } = await start(t, (response) => {
    response.writeHead(302, { Location: 'http://login/', 'X-Why': 'none', Connection: 'close' });
    response.end('go there');
  });
  t.deepEqual(await client.check(question), {
    ...{ kind: 'deny', status: 302, headers: ['location', 'http://login/', 'x-why', 'none'] },
    ...{ body: 'go there', details: 'ext_authz_denied' },
    reason: 'asker denied it, with status 302',
  });
});

test('of a denial only the fields that are named are told, and those without which nothing can be done', async (t) => {
  const { client } = await start(
    t,
    (response) => {
      response.writeHead(401, { 'WWW-Authenticate': 'Basic', 'X-Why': 'none', 'X-Secret': 's' });
      response.end();
    },
    {},
    { headersToDownstreamOnDeny: ['x-why'] },
  );
  t.like(await client.check(question), {
    status: 401,
    headers: ['www-authenticate', 'Basic', 'x-why', 'none'],
  });
});

for (const status of [201, 204, 206])
  test(`${status} is no yes, and no answer for a client either`, async (t) => {
    const { client } = await start(t, (response) => {
      response.writeHead(status).end();
    });
    t.like(await client.check(question), { kind: 'deny', status: 403 });
  });

test('one that fails, is silent, breaks off, changes the protocol or is not there denies', async (t) => {
  const cases: ((response: ServerResponse) => void)[] = [
    (response) => response.writeHead(500).end(),
    (response) => response.socket?.destroy(),
    () => undefined,
    (response) => {
      response.writeHead(200, { 'content-length': '10' });
      response.write('half', () => response.socket?.destroy());
    },
    (response) =>
      response.socket?.end('HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    (response) => response.socket?.end('no HTTP\r\n\r\n'),
  ];
  for (const answer of cases) {
    const { client } = await start(t, answer, { timeoutMs: 300, statusOnError: 503 });
    const outcome = await client.check(question);
    t.like(outcome, { kind: 'deny', status: 503, details: 'ext_authz_error' }, String(answer));
    const open = await start(t, answer, { timeoutMs: 300, failOpen: true });
    t.like(await open.client.check(question), { kind: 'allow', headers });
  }
  using absent = new ExternalAuthorizerClient(makeAuthorizer({ port: 1, http: HTTP }));
  t.like(await absent.check(question), { kind: 'deny', status: 403, details: 'ext_authz_error' });
});

test('a connection that its server has closed meanwhile is no failure', async (t) => {
  let count = 0;
  const { client, connections } = await start(t, (response, { socket }) => {
    response.writeHead(200).end();
    // As a server whose patience with an idle connection ends just when the next request comes.
    if (++count === 1)
      socket.once('data', () => {
        resetSocket(socket);
      });
  });
  t.is((await client.check(question)).kind, 'allow');
  t.is((await client.check(question)).kind, 'allow');
  t.is(connections(), 2);
});

test('a body is shown with its length, and whether that is all of it', async (t) => {
  const { client, asked } = await start(t, (response) => response.writeHead(200).end(), {
    ...{ maxRequestBytes: 5, allowPartialMessage: true },
  });
  await client.check({ ...question, body: { bytes: Buffer.from('hello'), isWhole: true } });
  await client.check({ ...question, body: { bytes: Buffer.from('hello!'), isWhole: false } });
  t.deepEqual(
    asked.map(({ headers: list, body }) => [body, list.slice(-6)]),
    (['false', 'true'] as const).map((partial) => [
      'hello',
      ['x-envoy-auth-partial-body', partial, 'content-length', '5', 'Connection', 'keep-alive'],
    ]),
  );
});

test('connections to authorizers last as long as a policy names them', (t) => {
  using clients = new AuthorizerClients();
  const policies = httpPolicies({
    ...{ action: 'CUSTOM', provider: { name: 'asker' }, rules: [{}] },
  });
  const [policy] = policies;
  if (policy === undefined || !('authorizer' in policy.action)) throw new Error('no authorizer');
  const { authorizer } = policy.action;
  clients.name('one', policies);
  clients.name('other', policies);
  const client = clients.of(authorizer);
  t.is(clients.of({ ...authorizer }), client, 'an equal one is the same');
  clients.name('one', []);
  t.is(clients.of(authorizer), client);
  clients.name('other', []);
  t.is(clients.size, 0);
});
