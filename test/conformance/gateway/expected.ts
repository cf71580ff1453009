import type { ExecutionContext } from 'ava';
import type { EchoRequest, Fields } from '../echo/messages.ts';
import { compareAll, type Case, type Expected } from '../expected.ts';
import type { GatewayMesh } from './gateway-mesh.ts';
import { INFRA } from './namespaces.ts';

export type GatewayRequest = Readonly<{
  /** Of the Gateway's listener; its Gateway is `same-namespace` unless told. */
  path?: string;
  /** `<name>`, `<name>.<namespace>` or with a port behind it. */
  at?: string;
  host?: string;
  method?: string;
  headers?: Fields;
}>;

/** A request to a gateway, by a host that no route names unless told. */
export function ask({
  path = '/',
  at = 'same-namespace',
  ...request
}: GatewayRequest): EchoRequest {
  const { host = 'any.example.test', method, headers = [] } = request;
  return {
    url: `http://${at}${path}`,
    ...(method && { method }),
    headers: [['host', host], ...headers],
  };
}

export type GatewayCase = readonly [request: GatewayRequest, expected: Expected];

/** Makes the requests, from outside of the mesh, and compares all that came of them. */
export async function expectRequests(
  t: ExecutionContext,
  mesh: GatewayMesh,
  cases: readonly GatewayCase[],
): Promise<void> {
  const asked = cases.map(
    ([request, expected]): Case => [ask(request), { namespace: INFRA, ...expected }],
  );
  await compareAll(t, asked, (requests) => mesh.send(requests));
}

/** Every path with the same outcome. */
export function each(paths: readonly string[], expected: Expected): GatewayCase[] {
  return paths.map((path) => [{ path }, expected]);
}
