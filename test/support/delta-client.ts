import type { ExecutionContext } from 'ava';
import {
  DeltaClient,
  type DeltaClientEvent,
  type DeltaClientOptions,
  type ResourceRejection,
} from '../../mesh/xds/delta-client.ts';
import { makeNode } from '../../mesh/xds/node.ts';
import { makeResource, ScriptedXds, type ScriptedStream } from './scripted-xds.ts';

export const A = 'type.test/A';
export const B = 'type.test/B';
/** With settings of every kind. */
export const node = makeNode(
  {
    type: 'ztunnel',
    podName: 'ztunnel-1',
    podNamespace: 'istio-system',
    instanceIp: '10.0.0.7',
    nodeName: 'node-a',
    serviceAccount: 'ztunnel',
  },
  new Map([
    ['ISTIO_META_NETWORK', 'n1'],
    ['ISTIO_METAJSON_LABELS', '{"a":["b"]}'],
    ['ISTIO_METAJSON_BROKEN', '{'],
    ['ISTIO_META_NAME', 'another'],
    ['PATH', '/bin'],
  ]),
);

type Applied = { typeUrl: string; names: string[]; removed: string[] };

type Running = Readonly<{
  server: ScriptedXds;
  client: DeltaClient;
  applied: Applied[];
  events: DeltaClientEvent[];
  /** Settles with the next event of a kind. */
  event: (kind: DeltaClientEvent['kind']) => Promise<DeltaClientEvent>;
  stop: AbortController;
  done: Promise<void>;
}>;

/** A client, told to run, and the server that it is to find; until the test ends. */
export async function startDeltaClient(
  t: ExecutionContext,
  options: Partial<DeltaClientOptions> & {
    reject?: (name: string) => string | undefined;
  } = {},
): Promise<Running> {
  const server = await ScriptedXds.start();
  const applied: Applied[] = [];
  const events: DeltaClientEvent[] = [];
  const waiting: { kind: DeltaClientEvent['kind']; wake: (event: DeltaClientEvent) => void }[] = [];
  const { reject, ...rest } = options;
  const client = new DeltaClient({
    controlPlane: { address: server.address, clusterId: 'Kubernetes', token: 'secret' },
    roots: server.rootPem,
    node,
    types: [
      { typeUrl: A, onDemand: false },
      { typeUrl: B, onDemand: false },
    ],
    apply: (typeUrl, resources, removed) => {
      applied.push({ typeUrl, names: resources.map(({ name }) => name), removed: [...removed] });
      const rejections = resources.flatMap(({ name }): ResourceRejection[] => {
        const reason = reject?.(name);
        return reason === undefined ? [] : [{ name, reason }];
      });
      return Promise.resolve(rejections);
    },
    onEvent: (event) => {
      events.push(event);
      const at = waiting.findIndex(({ kind }) => kind === event.kind);
      if (at >= 0) waiting.splice(at, 1)[0]?.wake(event);
    },
    ...rest,
  });
  const stop = new AbortController();
  const done = client.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await done;
    server.stop();
  });
  const event = (kind: DeltaClientEvent['kind']): Promise<DeltaClientEvent> =>
    new Promise((wake) => waiting.push({ kind, wake }));
  return { server, client, applied, events, event, stop, done };
}

/** Takes the first request of each type, and answers A with resources. */
export async function begin(
  stream: ScriptedStream,
  resources: Readonly<Record<string, string>> = {},
): Promise<void> {
  await stream.request();
  await stream.request();
  stream.respond({
    typeUrl: A,
    nonce: 'first',
    resources: Object.entries(resources).map(([name, version]) => makeResource(A, name, version)),
  });
  await stream.request();
}
