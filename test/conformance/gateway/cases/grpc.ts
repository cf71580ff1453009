import type { EchoRequest } from '../../echo/messages.ts';
import { compareAll, type Case, type Expected } from '../../expected.ts';
import type { GatewayMesh } from '../gateway-mesh.ts';
import { INFRA } from '../namespaces.ts';
import { gateway, headers, route, to, when } from '../objects.ts';
import type { ExecutionContext } from 'ava';
import type { Runs } from './run.ts';

type Names =
  | 'GRPCExactMethodMatching'
  | 'GRPCRouteHeaderMatching'
  | 'GRPCRouteListenerHostnameMatching'
  | 'GRPCRouteWeight'
  | 'GRPCRouteNamedRule'
  | 'GRPCRouteRequestHeaderModifier';

type Fields = Readonly<Record<string, unknown>>;

const SERVICE = 'proto.EchoTestService';
const SAME = ['same-namespace'];
const backend = (name: string, more: Fields = {}): Fields => to(name, { port: 7070, ...more });
const v1 = backend('infra-backend-v1');
const v2 = backend('infra-backend-v2');
const v3 = backend('infra-backend-v3');

const V1 = { by: 'infra-backend-v1' };
const V2 = { by: 'infra-backend-v2' };
const V3 = { by: 'infra-backend-v3' };
/** No route: UNIMPLEMENTED. */
const NONE = { grpcStatus: 12 };

type Call = readonly [
  call: Readonly<{ method?: string; host?: string; at?: string; headers?: EchoRequest['headers'] }>,
  expected: Expected,
];

/** Makes the calls, from outside of the mesh, and compares all that came of them. */
export async function expectCalls(
  t: ExecutionContext,
  mesh: GatewayMesh,
  calls: readonly Call[],
): Promise<void> {
  const cases = calls.map(([call, expected]): Case => {
    const { method = 'Echo', host = 'any.example.test', at = 'same-namespace' } = call;
    const path = `/${SERVICE}/${method}`;
    return [
      { url: `grpc://${at}${path}`, headers: [['host', host], ...(call.headers ?? [])] },
      { namespace: INFRA, path, host, ...expected },
    ];
  });
  await compareAll(t, cases, (requests) => mesh.send(requests));
}

export const byMethod = (method: string): Fields => ({ method: { service: SERVICE, method } });

export const grpc: Runs<Names> = {
  async GRPCExactMethodMatching(t, mesh) {
    await mesh.use(
      t,
      route('GRPCRoute', 'exact-matching', SAME, [
        when([byMethod('Echo')], v1),
        when([byMethod('EchoTwo')], v2),
      ]),
    );
    await expectCalls(t, mesh, [
      [{ method: 'Echo' }, V1],
      [{ method: 'EchoTwo' }, V2],
      [{ method: 'EchoThree' }, NONE],
      [{ method: 'echo' }, NONE],
    ]);
  },

  async GRPCRouteHeaderMatching(t, mesh) {
    await mesh.use(
      t,
      route('GRPCRoute', 'header-matching', SAME, [
        when([headers(['version', 'one'])], v1),
        when([headers(['version', 'two'])], v2),
        when([headers(['version', 'two'], ['color', 'orange'])], v1),
        when([headers(['color', 'blue']), headers(['color', 'green'])], v1),
        when([headers(['color', 'red']), headers(['color', 'yellow'])], v2),
      ]),
    );
    const by = (expected: Expected, ...fields: [string, string][]): Call => [
      { headers: fields },
      expected,
    ];
    await expectCalls(t, mesh, [
      by(V1, ['version', 'one']),
      by(V2, ['version', 'two']),
      by(V1, ['version', 'two'], ['color', 'orange']),
      by(V1, ['color', 'blue']),
      by(V1, ['color', 'green']),
      by(V2, ['color', 'red']),
      by(V2, ['color', 'yellow']),
      by(NONE, ['color', 'purple']),
      by(NONE),
    ]);
  },

  async GRPCRouteListenerHostnameMatching(t, mesh) {
    const name = 'grpc-hostnames';
    await mesh.use(
      t,
      gateway(name, [
        { name: 'one', hostname: 'bar.com' },
        { name: 'two', hostname: 'foo.bar.com' },
        { name: 'three', hostname: '*.bar.com' },
        { name: 'four', hostname: '*.foo.com' },
      ]),
      route('GRPCRoute', 'v1', [{ name, sectionName: 'one' }], [v1]),
      route('GRPCRoute', 'v2', [{ name, sectionName: 'two' }], [v2]),
      route(
        ...(['GRPCRoute', 'v3'] as const),
        [
          { name, sectionName: 'three' },
          { name, sectionName: 'four' },
        ],
        [v3],
      ),
    );
    const at = (host: string, expected: Expected): Call => [{ at: name, host }, expected];
    await expectCalls(t, mesh, [
      at('bar.com', V1),
      at('foo.bar.com', V2),
      at('baz.bar.com', V3),
      at('multiple.prefixes.bar.com', V3),
      at('multiple.prefixes.foo.com', V3),
      at('foo.com', NONE),
      at('no.matching.host', NONE),
    ]);
  },

  async GRPCRouteWeight(t, mesh) {
    const weighted = [70, 30, 0].map((weight, index) => ({
      ...{ name: `infra-backend-v${index + 1}`, port: 7070, weight },
    }));
    await mesh.use(t, route('GRPCRoute', 'weighted', SAME, [{ backendRefs: weighted }]));
    const requests = 2000;
    const [answers = []] = await mesh.send([{ url: 'grpc://same-namespace', count: requests }]);
    const counts = new Map<string, number>();
    for (const { echo, grpcStatus } of answers) {
      const by = echo?.pod.slice(0, 'infra-backend-v1'.length) ?? `gRPC ${grpcStatus}`;
      counts.set(by, (counts.get(by) ?? 0) + 1);
    }
    t.log(Object.fromEntries(counts));
    t.deepEqual([...counts.keys()].sort(), ['infra-backend-v1', 'infra-backend-v2']);
    const share = (counts.get('infra-backend-v1') ?? 0) / requests;
    t.true(Math.abs(share - 0.7) < 0.05, `${share} of the calls went to infra-backend-v1`);
  },

  async GRPCRouteNamedRule(t, mesh) {
    await mesh.use(
      t,
      route('GRPCRoute', 'named-rule', SAME, [
        { name: 'named-rule', ...when([byMethod('Echo')], v1) },
        when([byMethod('EchoTwo')], v2),
      ]),
    );
    await expectCalls(t, mesh, [
      [{ method: 'Echo' }, V1],
      [{ method: 'EchoTwo' }, V2],
    ]);
  },

  async GRPCRouteRequestHeaderModifier(t, mesh) {
    const change = (requestHeaderModifier: Fields): Fields => ({
      filters: [{ type: 'RequestHeaderModifier', requestHeaderModifier }],
    });
    const rule = (testCase: string, changes: Fields): Fields =>
      when([headers(['x-test-case', testCase])], { ...v1, ...change(changes) });
    await mesh.use(
      t,
      route('GRPCRoute', 'header-modifier', SAME, [
        rule('set', { set: [{ name: 'X-Header-Set', value: 'set-overwrites-values' }] }),
        rule('add', { add: [{ name: 'X-Header-Add', value: 'add-appends-values' }] }),
        rule('remove', { remove: ['X-Header-Remove'] }),
      ]),
    );
    const call = (
      testCase: string,
      sent: [string, string][],
      seen: Expected['seen'] & object,
    ): Call => [{ headers: [['x-test-case', testCase], ...sent] }, { ...V1, seen }];
    await expectCalls(t, mesh, [
      call('set', [], { 'x-header-set': ['set-overwrites-values'] }),
      call('set', [['x-header-set', 'other']], { 'x-header-set': ['set-overwrites-values'] }),
      call('add', [['x-header-add', 'other']], { 'x-header-add': ['other', 'add-appends-values'] }),
      call('remove', [['x-header-remove', 'value']], { 'x-header-remove': [] }),
    ]);
  },
};
