import type { ExecutionContext } from 'ava';
import type { Mesh } from './mesh.ts';

/** An AuthorizationPolicy as YAML; of namespace `shop` unless told otherwise. */
export function policyYaml(
  name: string,
  spec: Readonly<Record<string, unknown>>,
  namespace = 'shop',
): string {
  return securityYaml('AuthorizationPolicy', name, spec, namespace);
}

/** A PeerAuthentication as YAML; of namespace `shop` unless told otherwise. */
export function peerAuthenticationYaml(
  name: string,
  spec: Readonly<Record<string, unknown>>,
  namespace = 'shop',
): string {
  return securityYaml('PeerAuthentication', name, spec, namespace);
}

function securityYaml(
  kind: string,
  name: string,
  spec: Readonly<Record<string, unknown>>,
  namespace: string,
): string {
  const metadata = { name, namespace };
  return `---\n${JSON.stringify({ apiVersion: 'security.istio.io/v1', kind, metadata, spec })}\n`;
}

/** A call from a pod to an echo on a port of `server`. */
export type Call = Readonly<{ from: string; port: number }>;

export type Expectation = Readonly<{
  /** `<namespace>/<pod>`, on `node`. */
  server: string;
  node: string;
  allowed: readonly Call[];
  refused: readonly Call[];
  /** What the record of each refused call says. */
  reason: RegExp;
}>;

/**
 * Makes one call each, one after another (the record of each is told from the others by its time), and checks what came
 * back, the server's record and the server's metrics.
 */
export async function expectCalls(
  t: ExecutionContext,
  mesh: Mesh,
  { server, node, allowed, refused, reason }: Expectation,
): Promise<void> {
  const ip = await mesh.ip(server);
  for (const call of [...allowed, ...refused]) {
    const isAllowed = allowed.includes(call);
    const caller = await mesh.peer(call.from);
    const label = `${call.from} to port ${call.port}`;
    const text = `marker-${crypto.randomUUID()}`;
    const before = await mesh.metrics(node);
    const mark = mesh.mark();

    const said = await caller.say(ip, call.port, text);

    const [, pod] = caller.name.split('/');
    const pattern = { direction: 'inbound', node, 'src.workload': pod };
    const record = await mesh.record(pattern, mark);
    const now = await mesh.metrics(node);
    const grown = (name: string, labels = {}): number =>
      now.growth(before, name, { reporter: 'destination', source_workload: pod ?? '', ...labels });
    if (isAllowed) {
      t.is(said.text, text, label);
      t.is(said.ended, 'end', label);
      t.is(record.error, undefined, label);
      t.is(record['bytes_recv'], text.length, label);
      t.is(grown('istio_tcp_connections_closed_total'), 1, label);
      t.is(grown('istio_tcp_connections_failed_total'), 0, label);
    } else {
      t.is(said.text, '', label);
      t.is(said.ended, 'ECONNRESET', label);
      t.regex(record.error ?? '', reason, label);
      t.is(record['bytes_recv'], 0, label);
      t.is(grown('istio_tcp_connections_opened_total'), 0, label);
      t.is(grown('istio_tcp_connections_failed_total', { response_flags: 'DENY' }), 1, label);
    }
  }
}
