import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import type { ExecutionContext, TestFn } from 'ava';
import { listAt, textAt, valueAt } from '../../../cli/object-fields.ts';
import type { KubernetesObject } from '../../../deploy/sandbox/api.ts';
import { startMesh, type Mesh } from '../../support/mesh.ts';
import { TemporaryFolder } from '../../support/temporary-folder.ts';
import { ECHO_IMAGE, echoProgram, sendFrom } from '../echo-program.ts';
import type { Echo, EchoAnswer, EchoRequest } from '../echo/messages.ts';
import { baseYaml } from './base.ts';
import { CLIENT, INFRA } from './namespaces.ts';
import type { Manifest } from './objects.ts';

/** Longer than a status takes on a busy machine; what is wrong is shown after it. */
const STATUS_TIMEOUT_MS = 10_000;

/** What a status says, one way or another. */
export type View = Readonly<Record<string, unknown>>;

/**
 * The suite's gateways and backends, and a client outside of the mesh. A request's URL names a Gateway in the place of a
 * host: `same-namespace`, or `<name>.<namespace>`; or has an address.
 */
export class GatewayMesh {
  readonly mesh: Mesh;
  readonly #roots: string;
  readonly #files = new TemporaryFolder();
  /** By `<name>.<namespace>`. */
  readonly #addresses = new Map<string, string>();

  /** @param gateways of the base, which run for all tests of the file. */
  constructor(test: TestFn, gateways: readonly Manifest[]) {
    const { command, roots } = echoProgram(this.#files.path);
    this.#roots = roots;
    this.mesh = startMesh(test, {
      ...{ nodes: 1, yaml: baseYaml() },
      settings: { images: { [ECHO_IMAGE]: command } },
    });
    test.serial.before('its gateways run', async () => {
      await this.mesh.applySoon(gateways.map(yamlOf).join('---\n'));
      for (const { metadata } of gateways) await this.ready(metadata.name, metadata.namespace);
    });
    test.after.always('its files go', () => {
      this.#files[Symbol.dispose]();
    });
  }

  /** The authorities of what the backends show in TLS. */
  get rootsPem(): string {
    return readFileSync(this.#roots, 'utf8');
  }

  /** These objects hold, on every proxy, from here on; they go with the test. Gateways among them are waited for. */
  async use(t: ExecutionContext, ...manifests: readonly Manifest[]): Promise<void> {
    t.teardown(() => this.remove(...manifests));
    await this.apply(...manifests);
    for (const { kind, metadata } of manifests)
      if (kind === 'Gateway') await this.ready(metadata.name, metadata.namespace);
  }

  async apply(...manifests: readonly Manifest[]): Promise<void> {
    await this.mesh.apply(manifests.map(yamlOf).join('---\n'));
  }

  async remove(...manifests: readonly Manifest[]): Promise<void> {
    for (const { kind, metadata } of manifests)
      await this.mesh.deleteSoon(kind, metadata.name, metadata.namespace);
    await this.mesh.settled();
  }

  /** Waits until a gateway can be used. */
  async ready(name: string, namespace = INFRA): Promise<void> {
    const isReady = (object: KubernetesObject): boolean =>
      object.metadata.name === name &&
      object.metadata.namespace === namespace &&
      conditionsOf(object)['Programmed'] === 'True Programmed';
    const object = await this.mesh.watch(
      ...(['Gateway', isReady, `Gateway ${namespace}/${name} is programmed`] as const),
    );
    const [address] = listAt(object, 'status', 'addresses');
    this.#addresses.set(`${name}.${namespace}`, textAt(address, 'value'));
    await this.mesh.settled();
  }

  /** The address of a gateway that is ready. */
  addressOf(name: string, namespace = INFRA): string {
    const address = this.#addresses.get(`${name}.${namespace}`);
    if (address === undefined) throw new Error(`Gateway ${namespace}/${name} is not ready`);
    return address;
  }

  /** What came of each request, in their order; of those with a `count` all answers. */
  async send(requests: readonly EchoRequest[]): Promise<readonly (readonly EchoAnswer[])[]> {
    const addressed = requests.map((request) => {
      const url = new URL(request.url);
      const [name = '', namespace = INFRA] = url.hostname.split('.');
      if (isIP(url.hostname) === 0) url.hostname = this.addressOf(name, namespace);
      return { ...request, url: url.href };
    });
    return await sendFrom(this.mesh, `${CLIENT}/client`, addressed, this.#roots);
  }

  /**
   * The requests with a mark (`x-mark`) that a backend has seen, as soon as there are so many: what is asked of it directly,
   * past the gateway.
   */
  async seen(backend: string, mark: string, least = 0): Promise<readonly Echo[]> {
    const address = await this.mesh.vip(backend, 4, INFRA);
    const deadline = Date.now() + STATUS_TIMEOUT_MS;
    for (;;) {
      const [[answer] = []] = await sendFrom(
        this.mesh,
        `${CLIENT}/client`,
        [{ url: `http://${address}:8080/?seen=${mark}` }],
        this.#roots,
      );
      const seen = JSON.parse(answer?.text ?? '[]') as Echo[];
      if (seen.length >= least || Date.now() > deadline) return seen;
    }
  }

  /** The name of the only pod of a Deployment. */
  async pod(deployment: string, namespace = INFRA): Promise<string> {
    const { pods } = await this.mesh.sandbox.status();
    const [name, ...others] = pods
      .filter((pod) => pod.namespace === namespace && pod.name.startsWith(`${deployment}-`))
      .map((pod) => pod.name);
    if (name === undefined || others.length > 0)
      throw new Error(`not one pod of ${namespace}/${deployment}`);
    return name;
  }

  /** Compares what an object's status says, as soon as it says so. */
  async expectStatus(
    t: ExecutionContext,
    manifest: Pick<Manifest, 'kind' | 'metadata'>,
    view: (object: KubernetesObject) => View,
    expected: View,
  ): Promise<KubernetesObject> {
    const { kind } = manifest;
    const { name, namespace = INFRA } = manifest.metadata;
    const deadline = Date.now() + STATUS_TIMEOUT_MS;
    for (;;) {
      const [object] = await this.mesh.sandbox.objects({ kind, namespace, name });
      if (object !== undefined && isDeepStrictEqual(view(object), expected)) {
        t.deepEqual(view(object), expected);
        return object;
      }
      if (Date.now() > deadline) {
        t.deepEqual(object === undefined ? undefined : view(object), expected, `${kind} ${name}`);
        throw new Error(`the status of ${kind} ${name} is another one`);
      }
      await this.mesh.pushed();
    }
  }
}

export function yamlOf(manifest: Manifest): string {
  return `${JSON.stringify(manifest)}\n`;
}

/** Conditions by type, as "<status> <reason>"; one that is of an older generation says so. */
export function conditionsOf(told: unknown, generation?: number): Record<string, string> {
  const list = listAt(told, 'status', 'conditions');
  const conditions = list.length > 0 ? list : listAt(told, 'conditions');
  const current = generation ?? valueAt(told, 'metadata', 'generation');
  return Object.fromEntries(
    conditions.map((one) => {
      const old = valueAt(one, 'observedGeneration') === current ? '' : ' (of another generation)';
      return [textAt(one, 'type'), `${textAt(one, 'status')} ${textAt(one, 'reason')}${old}`];
    }),
  );
}

/** What a route's status says of each of its parents: by the Gateway's name, its section and its port. */
export function parentsView(object: KubernetesObject): View {
  return Object.fromEntries(
    listAt(object, 'status', 'parents').map((parent) => {
      const {
        name,
        sectionName = '',
        port = '',
      } = valueAt(parent, 'parentRef') as {
        name: string;
        sectionName?: string;
        port?: number;
      };
      const key = [name, sectionName, String(port)].filter((part) => part !== '').join('/');
      return [key, conditionsOf(parent, object.metadata.generation)];
    }),
  );
}

/** What a Gateway's status says of each of its listeners. */
export function listenersView(object: KubernetesObject): View {
  return Object.fromEntries(
    listAt(object, 'status', 'listeners').map((listener) => [
      textAt(listener, 'name'),
      {
        ...conditionsOf(listener, object.metadata.generation),
        kinds: listAt(listener, 'supportedKinds').map((kind) => textAt(kind, 'kind')),
        attachedRoutes: valueAt(listener, 'attachedRoutes'),
      },
    ]),
  );
}

export function gatewayView(object: KubernetesObject): View {
  return { ...conditionsOf(object), listeners: listenersView(object) };
}
