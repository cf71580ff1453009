/** External authorization against a real gRPC server. */
import { Server, ServerCredentials, status as GrpcStatus, type ServiceError } from '@grpc/grpc-js';
import test, { type ExecutionContext } from 'ava';
import { socketAddress } from '../../base/address.ts';
import type { ExternalAuthorizer } from '../../mesh/model/http-policy.ts';
import { parseSpiffeId } from '../../mesh/model/identity.ts';
import {
  AuthorizationService,
  type AuthorizationServer,
  type CheckRequest,
  type CheckResponse,
  type HeaderValueOption,
} from '../../mesh/proto/gen/ext-authz.ts';
import { ExternalAuthorizerClient } from '../../waypoint/ext-authz.ts';
import type { AuthorizationQuestion } from '../../waypoint/ext-authz/question.ts';
import { makeAuthorizer } from '../support/http-policies.ts';

type Answer = (request: CheckRequest, path: string) => CheckResponse | ServiceError | undefined;

/** An authorizer that answers as it is told, or not at all; gone with the test. */
async function startAuthorizer(
  t: ExecutionContext,
  answer: Answer,
  fields: Partial<ExternalAuthorizer> = {},
): Promise<ExternalAuthorizerClient> {
  const server = new Server();
  const implementation: AuthorizationServer = {
    check: (call, callback) => {
      const made = answer(call.request, call.getPath());
      if (made instanceof Error) callback(made);
      else if (made !== undefined) callback(null, made);
    },
  };
  server.addService(AuthorizationService, implementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  const client = new ExternalAuthorizerClient(makeAuthorizer({ port, ...fields }));
  t.teardown(() => {
    client[Symbol.dispose]();
    server.forceShutdown();
  });
  return client;
}

const headers = [
  ...[':method', 'POST', ':scheme', 'http', ':authority', 'web', ':path', '/a?b=c'],
  ...[
    'x-one',
    '1',
    'x-two',
    '2',
    'x-one',
    '3',
    'cookie',
    'a=1',
    'cookie',
    'b=2',
    'content-length',
    '5',
  ],
];
const question: AuthorizationQuestion = {
  ...{ id: 'id-1', headers, protocol: 'HTTP/1.1', sni: '' },
  source: {
    address: socketAddress('10.0.0.1', 4711),
    identity: parseSpiffeId('spiffe://cluster.local/ns/shop/sa/client'),
  },
  destination: { address: socketAddress('10.0.0.2', 80) },
};

const answerOf = (code: number, httpResponse?: CheckResponse['httpResponse']): CheckResponse => ({
  status: { code, message: '' },
  ...(httpResponse && { httpResponse }),
});
const option = (
  key: string,
  value: string,
  fields: Partial<HeaderValueOption> = {},
): HeaderValueOption => ({
  header: { key, value, rawValue: Buffer.alloc(0) },
  ...{ appendAction: 0, keepEmptyValue: false },
  ...fields,
});

test('the authorizer is told of the request, and its yes lets it go on unchanged', async (t) => {
  const asked: CheckRequest[] = [];
  const client = await startAuthorizer(t, (request, path) => {
    t.is(path, '/envoy.service.auth.v3.Authorization/Check');
    asked.push(request);
    return answerOf(0);
  });
  t.deepEqual(await client.check(question), { kind: 'allow', headers, responseHeaders: [] });
  const { attributes } = asked[0] ?? {};
  t.like(attributes?.source, { principal: 'spiffe://cluster.local/ns/shop/sa/client' });
  t.deepEqual(attributes?.source?.address?.address, {
    $case: 'socketAddress',
    value: { address: '10.0.0.1', portSpecifier: { $case: 'portValue', value: 4711 } },
  });
  const http = attributes?.request?.http;
  t.like(http, {
    method: 'POST',
    path: '/a?b=c',
    host: 'web',
    scheme: 'http',
    id: 'id-1',
    size: 5n,
  });
  t.is(http?.headers.get('x-one'), '1,3');
  t.is(http?.headers.get('cookie'), 'a=1; b=2');
  t.is(http?.headers.get(':path'), '/a?b=c');
  t.is(http?.body, '');
});

test('only the headers that are configured are shown', async (t) => {
  let shown: string[] = [];
  const client = await startAuthorizer(
    t,
    ({ attributes }) => {
      shown = [...(attributes?.request?.http?.headers.keys() ?? [])].filter(
        (name) => !name.startsWith(':'),
      );
      return answerOf(0);
    },
    { includeHeaders: ['x-two'] },
  );
  await client.check(question);
  t.deepEqual(shown, ['x-two']);
});

test('a yes may set, append and remove headers, but none that frames or names', async (t) => {
  const client = await startAuthorizer(t, () =>
    answerOf(0, {
      $case: 'okResponse',
      value: {
        headers: [
          ...[option('X-User', 'alice'), option('x-two', 'new')],
          option('x-one', '4', { append: true }),
          option('x-two', 'kept out', { appendAction: 1 }),
          option('x-absent', 'no', { appendAction: 3 }),
          ...[option(':path', '/admin'), option('host', 'other'), option('content-length', '0')],
          ...[option('transfer-encoding', 'chunked'), option('x-bad', 'a\r\nb: c')],
        ],
        headersToRemove: ['Cookie', ':authority', 'content-length'],
        responseHeadersToAdd: [option('x-answer', 'y')],
      },
    }),
  );
  t.deepEqual(await client.check(question), {
    kind: 'allow',
    headers: [
      ...headers.slice(0, 8),
      ...[
        'x-one',
        '1',
        'x-one',
        '3',
        'content-length',
        '5',
        'x-user',
        'alice',
        'x-two',
        'new',
        'x-one',
        '4',
      ],
    ],
    responseHeaders: ['x-answer', 'y'],
  });
});

test('a no is told with its status, headers and body', async (t) => {
  const client = await startAuthorizer(t, () =>
    answerOf(7, {
      $case: 'deniedResponse',
      value: {
        status: { code: 302 },
        headers: [option('Location', 'http://login/')],
        body: 'go away',
      },
    }),
  );
  t.like(await client.check(question), {
    ...{ kind: 'deny', status: 302, headers: ['location', 'http://login/'], body: 'go away' },
    details: 'ext_authz_denied',
  });
});

for (const [given, answer, status] of [
  ['a status alone', answerOf(16), 403],
  [
    'a status beside an answer that allows',
    answerOf(7, {
      $case: 'okResponse',
      value: { headers: [], headersToRemove: [], responseHeadersToAdd: [] },
    }),
    403,
  ],
  [
    'an answer that denies beside a status that allows',
    answerOf(0, { $case: 'deniedResponse', value: { headers: [], body: '' } }),
    403,
  ],
  [
    'a status that HTTP does not have',
    answerOf(7, {
      $case: 'deniedResponse',
      value: { status: { code: 42 }, headers: [], body: '' },
    }),
    403,
  ],
] as const)
  test(`${given} denies`, async (t) => {
    const client = await startAuthorizer(t, () => answer);
    t.like(await client.check(question), { kind: 'deny', status, details: 'ext_authz_denied' });
  });

const failure = Object.assign(new Error('broken'), {
  ...{ code: GrpcStatus.INTERNAL, details: 'broken' },
}) as ServiceError;

test('an authorizer that fails, is silent or is not there denies (C5)', async (t) => {
  const failing = await startAuthorizer(t, () => failure);
  t.like(await failing.check(question), { kind: 'deny', status: 403, details: 'ext_authz_error' });
  const silent = await startAuthorizer(t, () => undefined, { timeoutMs: 50, statusOnError: 503 });
  const outcome = await silent.check(question);
  t.like(outcome, { kind: 'deny', status: 503, details: 'ext_authz_error' });
  t.regex(outcome.kind === 'deny' ? outcome.reason : '', /cannot ask asker: .*DEADLINE_EXCEEDED/);
  using absent = new ExternalAuthorizerClient(makeAuthorizer({ port: 1, timeoutMs: 1000 }));
  t.like(await absent.check(question), { kind: 'deny', status: 403, details: 'ext_authz_error' });
});

test('where it is configured, one that fails is done without, and that is told', async (t) => {
  const failing = await startAuthorizer(t, () => failure, { failOpen: true });
  const outcome = await failing.check(question);
  t.like(outcome, { kind: 'allow', headers });
  t.regex(outcome.kind === 'allow' ? (outcome.failedOpen ?? '') : '', /broken/);
});

test('it is there again when its server is', async (t) => {
  let broken = true;
  const client = await startAuthorizer(t, () => (broken ? failure : answerOf(0)));
  t.is((await client.check(question)).kind, 'deny');
  broken = false;
  t.is((await client.check(question)).kind, 'allow');
});

test('a body is shown up to its bound, and a longer one only where that is allowed', async (t) => {
  const seen: string[] = [];
  const answer: Answer = ({ attributes }) => {
    const http = attributes?.request?.http;
    seen.push(
      `${http?.body ?? ''}|${http?.rawBody.toString() ?? ''}|${http?.headers.get('x-envoy-auth-partial-body') ?? ''}`,
    );
    return answerOf(0);
  };
  const whole = { ...question, body: { bytes: Buffer.from('hello'), isWhole: true } };
  const part = { ...question, body: { bytes: Buffer.from('hello'), isWhole: false } };
  const strict = await startAuthorizer(t, answer, { maxRequestBytes: 5 });
  t.is(strict.bodyBytesWanted, 5);
  t.is((await strict.check(whole)).kind, 'allow');
  t.like(await strict.check(part), { kind: 'deny', status: 413, body: 'Payload Too Large' });
  const partial = await startAuthorizer(t, answer, {
    ...{ maxRequestBytes: 4, allowPartialMessage: true, packAsBytes: true },
  });
  t.is((await partial.check(part)).kind, 'allow');
  t.deepEqual(seen, ['hello||false', '|hell|true']);
});
