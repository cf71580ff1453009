/**
 * How long is the choice of a rule, among 1, 100 and 1,000 rules? Prints ns per request for rules of paths, of methods and
 * headers, of gRPC methods, and of patterns; and the bytes that a choice allocates.
 *
 *     node --expose-gc bench/match.ts [--json]
 */
import type { HttpMatch, HttpRoutes } from '../mesh/model/http-route.ts';
import type { HeaderList } from '../net/h2/headers.ts';
import { makeRule } from '../test/support/route-cases.ts';
import { RouteTable } from '../waypoint/match.ts';

const RULES = [1, 100, 1000];
const ROUNDS = 200_000;
const SAMPLES = 5;

type Question = Readonly<{
  name: string;
  match(index: number): HttpMatch;
  path(index: number): string;
  /** Of the request for a rule. */
  fields?(index: number): readonly string[];
}>;

const none = { headers: [], queryParams: [] };

const QUESTIONS: readonly Question[] = [
  {
    name: 'prefixes',
    match: (index) => ({
      ...none,
      path: { kind: 'prefix', value: `/shop/v${index % 10}/item-${index}` },
    }),
    path: (index) => `/shop/v${index % 10}/item-${index}/details?color=red`,
  },
  {
    name: 'gRPC methods',
    match: (index) => ({
      ...none,
      path: { kind: 'exact', value: `/shop.v1.Service${index >> 3}/Method${index & 7}` },
      method: 'POST',
    }),
    path: (index) => `/shop.v1.Service${index >> 3}/Method${index & 7}`,
  },
  {
    name: 'headers of one path',
    match: (index) => ({
      path: { kind: 'prefix', value: '/' },
      headers: [{ name: 'x-user', kind: 'exact', value: `user-${index}` }],
      queryParams: [],
    }),
    path: () => '/cart',
    fields: (index) => ['x-user', `user-${index}`],
  },
  {
    name: 'patterns',
    match: (index) => ({ ...none, path: { kind: 'regex', value: `/item-${index}/[0-9]+` } }),
    path: (index) => `/item-${index}/12345`,
  },
];

/** What a browser's request has beside the field that a rule asks for. */
const FIELDS = [
  ...['user-agent', 'Mozilla/5.0', 'accept', '*/*', 'accept-encoding', 'gzip, br'],
  ...['accept-language', 'en', 'cookie', 'a=1; b=2', 'x-request-id', '1', 'referer', 'http://a/'],
];

function requestFor(question: Question, index: number): HeaderList {
  return [
    ...[':method', 'POST', ':scheme', 'http', ':authority', 'shop:80', ':path'],
    ...[question.path(index), ...FIELDS, ...(question.fields?.(index) ?? [])],
  ];
}

/** The median of a few samples, each of many requests for rules all over the table. */
function nanoseconds(table: RouteTable, requests: readonly HeaderList[], rounds: number): number {
  const times: number[] = [];
  for (let sample = 0; sample <= SAMPLES; sample++) {
    const start = process.hrtime.bigint();
    for (let round = 0; round < rounds; round++) {
      const request = requests[round % requests.length];
      if (request !== undefined && table.find(request) === undefined) throw new Error('no rule');
    }
    const took = Number(process.hrtime.bigint() - start) / rounds;
    if (sample > 0) times.push(took); // the first one warms
  }
  return times.sort((a, b) => a - b)[SAMPLES >> 1] ?? NaN;
}

function bytesPerRequest(table: RouteTable, requests: readonly HeaderList[]): number {
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  const rounds = 10_000;
  for (let round = 0; round < rounds; round++) {
    const request = requests[round % requests.length];
    if (request !== undefined) table.find(request);
  }
  return Math.max(0, (process.memoryUsage().heapUsed - before) / rounds);
}

const rows = QUESTIONS.flatMap((question) =>
  RULES.map((rules) => {
    const matches = Array.from({ length: rules }, (_, index) => question.match(index));
    const routes: HttpRoutes = {
      choice: 'precedence',
      grpc: false,
      rules: matches.map((match, index) => makeRule(`rule-${index}`, [match])),
    };
    const table = new RouteTable(routes);
    const requests = Array.from({ length: Math.min(rules, 64) }, (_, index) =>
      requestFor(question, Math.floor((index * rules) / Math.min(rules, 64))),
    );
    const rounds = question.name === 'patterns' ? Math.ceil(ROUNDS / rules) + 200 : ROUNDS;
    const ns = nanoseconds(table, requests, rounds);
    return { question: question.name, rules, ns, bytes: bytesPerRequest(table, requests) };
  }),
);

if (process.argv.includes('--json')) console.log(JSON.stringify(rows));
else
  for (const { question, rules, ns, bytes } of rows)
    console.log(
      `${question.padEnd(20)} ${String(rules).padStart(5)} rules ${ns.toFixed(0).padStart(8)} ns` +
        (globalThis.gc ? ` ${bytes.toFixed(0).padStart(6)} bytes` : ''),
    );
