import { expectRequests, type GatewayCase } from '../expected.ts';
import { httpRoute, path, to, when } from '../objects.ts';
import type { Expected } from '../../expected.ts';
import type { Runs } from './run.ts';

type Names =
  | 'HTTPRouteRequestHeaderModifier'
  | 'HTTPRouteBackendRequestHeaderModifier'
  | 'HTTPRouteRequestHeaderModifierBackendWeights'
  | 'HTTPRouteResponseHeaderModifier';

type Changes = Readonly<Record<string, unknown>>;
type Values = Readonly<Record<string, string>>;

const SAME = ['same-namespace'];
const fields = (values: Values): readonly Values[] =>
  Object.entries(values).map(([name, value]) => ({ name, value }));

/** What is changed, by path. */
const CHANGES: Readonly<Record<string, Changes>> = {
  '/set': { set: fields({ 'X-Header-Set': 'set-overwrites-values' }) },
  '/add': { add: fields({ 'X-Header-Add': 'add-appends-values' }) },
  '/remove': { remove: ['X-Header-Remove'] },
  '/multiple': {
    set: fields({ 'X-Header-Set-1': 'set-1', 'X-Header-Set-2': 'set-2' }),
    add: fields({ 'X-Header-Add-1': 'add-1', 'X-Header-Add-2': 'add-2' }),
    remove: ['X-Header-Remove-1', 'X-Header-Remove-2'],
  },
  '/case': {
    set: fields({ 'x-header-SET': 'set' }),
    add: fields({ 'X-HEADER-add': 'add' }),
    remove: ['x-Header-remove'],
  },
};

/** What is there before, and what of it after the changes of a path. */
const CASES: readonly (readonly [
  asked: string,
  before: Values,
  after: Expected['seen'] & object,
])[] = [
  ['/set', {}, { 'X-Header-Set': ['set-overwrites-values'] }],
  ['/set', { 'X-Header-Set': 'other' }, { 'X-Header-Set': ['set-overwrites-values'] }],
  ['/add', {}, { 'X-Header-Add': ['add-appends-values'] }],
  ['/add', { 'X-Header-Add': 'other' }, { 'X-Header-Add': ['other', 'add-appends-values'] }],
  ['/remove', { 'X-Header-Remove': 'value' }, { 'X-Header-Remove': [] }],
  [
    '/multiple',
    { 'X-Header-Set-2': 'a', 'X-Header-Add-2': 'b', 'X-Header-Remove-2': 'c', 'X-Other': 'd' },
    {
      ...{ 'X-Header-Set-1': ['set-1'], 'X-Header-Set-2': ['set-2'] },
      ...{ 'X-Header-Add-1': ['add-1'], 'X-Header-Add-2': ['b', 'add-2'] },
      ...{ 'X-Header-Remove-1': [], 'X-Header-Remove-2': [], 'X-Other': ['d'] },
    },
  ],
  [
    '/case',
    { 'X-Header-Set': 'a', 'X-Header-Add': 'b', 'X-Header-Remove': 'c' },
    { 'X-Header-Set': ['set'], 'X-Header-Add': ['b', 'add'], 'X-Header-Remove': [] },
  ],
];

const requestFilter = (changes: Changes): Changes => ({
  ...{ type: 'RequestHeaderModifier', requestHeaderModifier: changes },
});

const BY_V1 = { by: 'infra-backend-v1' };
const expectSeen: readonly GatewayCase[] = CASES.map(([asked, before, seen]) => [
  { path: asked, headers: Object.entries(before) },
  { ...BY_V1, seen },
]);

export const headers: Runs<Names> = {
  async HTTPRouteRequestHeaderModifier(t, mesh) {
    const rules = Object.entries(CHANGES).map(([prefix, changes]) =>
      when([path(prefix)], { filters: [requestFilter(changes)], ...to('infra-backend-v1') }),
    );
    await mesh.use(t, httpRoute('request-header-modifier', SAME, rules));
    await expectRequests(t, mesh, expectSeen);
  },

  async HTTPRouteBackendRequestHeaderModifier(t, mesh) {
    const rules = Object.entries(CHANGES).map(([prefix, changes]) =>
      when([path(prefix)], to('infra-backend-v1', { filters: [requestFilter(changes)] })),
    );
    await mesh.use(t, httpRoute('backend-request-header-modifier', SAME, rules));
    await expectRequests(t, mesh, expectSeen);
  },

  async HTTPRouteRequestHeaderModifierBackendWeights(t, mesh) {
    const backend = (name: string, weight: number): Changes => ({
      ...{ name, port: 8080, weight },
      filters: [requestFilter({ set: fields({ Backend: name }) })],
    });
    const backendRefs = [
      ...[backend('infra-backend-v1', 1), backend('infra-backend-v2', 1)],
      backend('infra-backend-v3', 0),
    ];
    await mesh.use(t, httpRoute('header-by-backend', SAME, [{ backendRefs }]));
    const [answers = []] = await mesh.send([
      { url: 'http://same-namespace/', headers: [['host', 'any.test']], count: 200 },
    ]);
    const found = new Set(
      answers.map(({ echo }) => {
        const told = echo?.headers.find(([name]) => name.toLowerCase() === 'backend')?.[1];
        return `${echo?.pod.slice(0, 'infra-backend-v1'.length)}: ${told}`;
      }),
    );
    t.deepEqual([...found].sort(), [
      'infra-backend-v1: infra-backend-v1',
      'infra-backend-v2: infra-backend-v2',
    ]);
  },

  async HTTPRouteResponseHeaderModifier(t, mesh) {
    const rules = Object.entries(CHANGES).map(([prefix, changes]) =>
      when([path(prefix)], {
        filters: [{ type: 'ResponseHeaderModifier', responseHeaderModifier: changes }],
        ...to('infra-backend-v1'),
      }),
    );
    const both = when([path('/both')], {
      filters: [
        requestFilter({ set: fields({ 'X-Header-Set': 'of the request' }) }),
        {
          type: 'ResponseHeaderModifier',
          responseHeaderModifier: { set: fields({ 'X-Header-Set': 'of the response' }) },
        },
      ],
      ...to('infra-backend-v1'),
    });
    await mesh.use(t, httpRoute('response-header-modifier', SAME, [...rules, both]));
    await expectRequests(t, mesh, [
      ...CASES.map(
        ([asked, before, answered]): GatewayCase => [
          {
            path: asked,
            headers: Object.entries(before).map(([name, value]) => [
              ...(['x-echo-set-header', `${name}:${value}`] as const),
            ]),
          },
          { ...BY_V1, answered },
        ],
      ),
      [
        { path: '/both', headers: [['x-echo-set-header', 'X-Header-Set:other']] },
        {
          ...{ ...BY_V1, seen: { 'X-Header-Set': ['of the request'] } },
          answered: { 'X-Header-Set': ['of the response'] },
        },
      ],
    ]);
  },
};
