import type { ExecutionContext } from 'ava';
import { MESH_NAMESPACE, type EchoMesh } from './echo-mesh.ts';
import { GRPC_METHOD, type EchoAnswer, type EchoRequest, type Fields } from './echo/messages.ts';

/**
 * What must come of a request. What is not said must be as if there were no mesh: the backend sees the path, the method
 * and the host that the client sent, and a header that no route knows.
 */
export type Expected = Readonly<{
  /** 200 unless told. */
  status?: number;
  /** The Deployment that answers; absent where the waypoint does. */
  by?: string;
  /** Of that Deployment; that of the mesh tests unless told. */
  namespace?: string;
  /** As the backend sees it; as sent unless told. */
  path?: string;
  host?: string;
  /** All values of these headers, as the backend sees them; an empty list: none. */
  seen?: Readonly<Record<string, readonly string[]>>;
  /** All values of these headers of the response. */
  answered?: Readonly<Record<string, readonly string[]>>;
  /** Of gRPC; 0 unless told. */
  grpcStatus?: number;
}>;

export type Case = readonly [request: EchoRequest, expected: Expected];

/** No route changes it, so every backend sees it. */
const UNTOUCHED = ['x-untouched', 'as it was'] as const;

/** Makes the requests, from inside the pod of echo-v1, and compares all that came of them. */
export async function expectAll(
  t: ExecutionContext,
  mesh: EchoMesh,
  cases: readonly Case[],
  from = MESH_NAMESPACE,
): Promise<void> {
  await compareAll(t, cases, (requests) => mesh.send(requests, from));
}

/** Makes the requests by `send`, and compares all that came of them. */
export async function compareAll(
  t: ExecutionContext,
  cases: readonly Case[],
  send: (requests: readonly EchoRequest[]) => Promise<readonly (readonly EchoAnswer[])[]>,
): Promise<void> {
  const requests = cases.map(([request]) => ({
    ...request,
    headers: [...(request.headers ?? []), UNTOUCHED],
  }));
  const answers = await send(requests);
  const name = ({ url, headers = [] }: EchoRequest): string =>
    [url, ...headers.map((header) => header.join(': '))].join(' ');
  t.deepEqual(
    cases.map(([request, expected], index) => ({
      request: name(request),
      ...observe(answers[index]?.[0], expected),
    })),
    cases.map(([request, expected]) => ({
      request: name(request),
      ...describeExpected(request, expected),
    })),
  );
}

/** What is compared of one answer; `text` is what helps to understand a difference. */
function observe(answer: EchoAnswer | undefined, expected: Expected): object {
  if (answer === undefined) return { status: 0 };
  const { echo, status, grpcStatus } = answer;
  return {
    status,
    ...(grpcStatus !== undefined && { grpcStatus }),
    answered: valuesOf(answer.headers, expected.answered),
    ...(echo === undefined
      ? { ...(expected.by !== undefined && { text: answer.text }) }
      : {
          by: echo.pod.replace(/-[a-z0-9]+-[a-z0-9]+$/, ''),
          namespace: echo.namespace,
          method: echo.method,
          path: echo.path,
          host: echo.host,
          seen: valuesOf(echo.headers, { ...expected.seen, [UNTOUCHED[0]]: [] }),
        }),
  };
}

function describeExpected(request: EchoRequest, expected: Expected): object {
  const { status = 200, grpcStatus = 0, by, answered = {}, seen = {} } = expected;
  const { namespace = MESH_NAMESPACE } = expected;
  const url = new URL(request.url);
  const grpc = url.protocol === 'grpc:';
  const sentHost = request.headers?.find(([name]) => name === 'host')?.[1] ?? url.host;
  return {
    status,
    ...(grpc && { grpcStatus }),
    answered,
    ...(by !== undefined && {
      ...{ by, namespace },
      method: grpc ? 'POST' : (request.method ?? 'GET'),
      path: expected.path ?? (grpc ? GRPC_METHOD : url.pathname + url.search),
      host: expected.host ?? sentHost,
      seen: { ...seen, [UNTOUCHED[0]]: [UNTOUCHED[1]] },
    }),
  };
}

/** The values of some headers; several lines of one name and one line with commas mean the same. */
function valuesOf(fields: Fields, names: object = {}): object {
  return Object.fromEntries(
    Object.keys(names).map((name) => [
      name,
      fields
        .filter(([each]) => each.toLowerCase() === name.toLowerCase())
        .flatMap(([, value]) => (name === 'location' ? [value] : value.split(/, */))),
    ]),
  );
}
