import { request, type ClientRequest } from 'node:http';
import { describeError } from '../../base/errors.ts';
import { Backoff } from './retry.ts';
import type { AgentPod, PodSource, PodSourceEvents } from './pod-source.ts';

/** Annotation of the sandbox: the path of a pod's namespace. */
const NETNS_ANNOTATION = 'sandbox.halo.dev/netns';
/** A line of the watch is one object; more than this is none. */
const MAX_LINE_CHARACTERS = 4 * 1024 * 1024;
const ANNOTATE_TIMEOUT_MS = 10_000;

type Json = Readonly<Record<string, unknown>>;

/** Pods and namespaces through the sandbox's control API: list and watch, begun anew whenever it ends. */
export class SandboxPods implements PodSource {
  readonly #socketPath: string;
  readonly #node: string;
  readonly #events: PodSourceEvents;
  readonly #backoff = new Backoff();
  readonly #stop = new AbortController();
  #pods = new Map<string, Json>();
  #namespaces = new Map<string, Json>();
  #synced = false;
  #told = false;
  #watch: ClientRequest | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(socketPath: string, node: string, events: PodSourceEvents) {
    this.#socketPath = socketPath;
    this.#node = node;
    this.#events = events;
    this.#open();
  }

  async annotate(
    pod: AgentPod,
    annotations: Readonly<Record<string, string | null>>,
  ): Promise<void> {
    const backoff = new Backoff();
    const { uid, namespace, name } = pod;
    const body = { object: { kind: 'Pod', namespace, name }, uid, annotations };
    for (;;) {
      if (this.#stop.signal.aborted) return;
      const status = await this.#post('/v1/label', body).catch((error: unknown) => {
        this.#events.log(`cannot annotate pod ${namespace}/${name}: ${describeError(error)}`);
        return 0;
      });
      // 4xx: it has gone, or another pod has its name.
      if (status === 200 || (status >= 400 && status < 500)) return;
      await backoff.wait(this.#stop.signal);
    }
  }

  close(): void {
    this.#stop.abort();
    clearTimeout(this.#timer);
    this.#watch?.destroy();
  }

  #open(): void {
    const query = `kind=Pod&kind=Namespace&node=${encodeURIComponent(this.#node)}`;
    const watch = request({
      socketPath: this.#socketPath,
      path: `/v1/watch?${query}`,
      agent: false,
    });
    this.#watch = watch;
    this.#synced = false;
    const pods = new Map<string, Json>();
    const namespaces = new Map<string, Json>();
    watch.on('response', (response) => {
      let rest = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        if (rest.length > MAX_LINE_CHARACTERS) watch.destroy();
        for (const line of lines) this.#take(line, pods, namespaces);
        if (this.#synced) this.#tell();
      });
      response.on('error', () => undefined); // 'close' follows
    });
    watch.on('error', (error) => {
      if (!this.#told) this.#events.log(`cannot watch pods: ${describeError(error)}`);
      this.#told = true;
    });
    watch.on('close', () => {
      if (this.#stop.signal.aborted) return;
      // What is known stays true until a new list says otherwise.
      this.#timer = setTimeout(() => {
        this.#open();
      }, this.#backoff.next());
    });
    watch.end();
  }

  #take(line: string, pods: Map<string, Json>, namespaces: Map<string, Json>): void {
    const event = JSON.parse(line) as Json;
    const { type, object } = event;
    if (type === 'BOOKMARK') {
      this.#pods = pods;
      this.#namespaces = namespaces;
      this.#synced = true;
      this.#told = false;
      this.#backoff.reset();
      return;
    }
    const known = asRecord(object);
    const metadata = asRecord(known['metadata']);
    const [map, key] =
      known['kind'] === 'Namespace'
        ? [namespaces, asText(metadata['name'])]
        : [pods, asText(metadata['uid'])];
    if (type === 'DELETED') map.delete(key);
    else map.set(key, known);
  }

  #tell(): void {
    const pods = new Map<string, AgentPod>();
    for (const [uid, object] of this.#pods) {
      const namespace = asText(asRecord(object['metadata'])['namespace']);
      pods.set(uid, readPod(object, this.#namespaces.get(namespace)));
    }
    this.#events.onPods(pods);
  }

  #post(path: string, body: unknown): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(ANNOTATE_TIMEOUT_MS)]);
    const options = { socketPath: this.#socketPath, path, method: 'POST', agent: false, signal };
    const asked = request(options, (response) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    asked.on('error', reject);
    asked.end(JSON.stringify(body));
    return promise;
  }
}

function readPod(object: Json, namespaceObject: Json | undefined): AgentPod {
  const metadata = asRecord(object['metadata']);
  const spec = asRecord(object['spec']);
  const status = asRecord(object['status']);
  const annotations = asTexts(metadata['annotations']);
  const podIps = Array.isArray(status['podIPs']) ? (status['podIPs'] as unknown[]) : [];
  const phase = asText(status['phase']);
  return {
    uid: asText(metadata['uid']),
    name: asText(metadata['name']),
    namespace: asText(metadata['namespace']),
    serviceAccount: asText(spec['serviceAccountName']),
    labels: asTexts(metadata['labels']),
    annotations,
    namespaceLabels: asTexts(asRecord(asRecord(namespaceObject)['metadata'])['labels']),
    hostNetwork: spec['hostNetwork'] === true,
    ips: podIps.map((entry) => asText(asRecord(entry)['ip'])).filter((ip) => ip !== ''),
    netnsPath: new Map(Object.entries(annotations)).get(NETNS_ANNOTATION) ?? '',
    ended: phase === 'Succeeded' || phase === 'Failed',
  };
}

function asRecord(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Json)
    : {};
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function asTexts(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(asRecord(value)).filter(
      (entry): entry is [string, string] => typeof entry[1] === 'string',
    ),
  );
}
