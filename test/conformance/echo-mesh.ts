import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ExecutionContext, TestFn } from 'ava';
import { parseAllDocuments } from 'yaml';
import { textAt } from '../../cli/object-fields.ts';
import { startMesh, type Mesh } from '../support/mesh.ts';
import { waypointReady } from '../support/mesh-waypoints.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';
import { ECHO_IMAGE, echoProgram, sendFrom } from './echo-program.ts';
import type { EchoAnswer, EchoRequest } from './echo/messages.ts';

export const MESH_NAMESPACE = 'gateway-conformance-mesh';
export const CONSUMER_NAMESPACE = 'gateway-conformance-mesh-consumer';

/** The suite's mesh for all tests of a file: two echo Deployments behind a waypoint, and a client in another namespace. */
export class EchoMesh {
  readonly mesh: Mesh;
  readonly #roots: string;

  readonly #files = new TemporaryFolder();

  constructor(test: TestFn) {
    const { command, roots } = echoProgram(this.#files.path);
    this.#roots = roots;
    this.mesh = startMesh(test, {
      yaml: fixture('base'),
      settings: { images: { [ECHO_IMAGE]: command } },
    });
    test.serial.before('its waypoint runs', async () => {
      await waypointReady(this.mesh, 'namespace', { namespace: MESH_NAMESPACE });
    });
    test.after.always('its files go', () => {
      this.#files[Symbol.dispose]();
    });
  }

  /** The test's routes are in force, on every proxy, from here on; they go with the test. */
  async useRoutes(t: ExecutionContext, name: string): Promise<void> {
    const yaml = fixture(name);
    t.teardown(async () => {
      for (const document of parseAllDocuments(yaml)) {
        const route: unknown = document.toJS();
        const field = (key: string): string => textAt(route, 'metadata', key);
        await this.mesh.deleteSoon(textAt(route, 'kind'), field('name'), field('namespace'));
      }
      await this.mesh.settled();
    });
    await this.mesh.apply(yaml);
  }

  /** What came of each request, in their order; of those with a `count` all answers. */
  async send(
    requests: readonly EchoRequest[],
    namespace = MESH_NAMESPACE,
  ): Promise<readonly (readonly EchoAnswer[])[]> {
    const client = await this.pod('echo-v1', namespace);
    return await sendFrom(this.mesh, `${namespace}/${client}`, requests, this.#roots);
  }

  /** The name of the only pod of a Deployment. */
  async pod(deployment: string, namespace = MESH_NAMESPACE): Promise<string> {
    const { pods } = await this.mesh.sandbox.status();
    const names = pods
      .filter((pod) => pod.namespace === namespace && pod.name.startsWith(`${deployment}-`))
      .map(({ name }) => name);
    const [name, ...others] = names;
    if (name === undefined || others.length > 0)
      throw new Error(`not one pod of ${namespace}/${deployment}: ${names.join()}`);
    return name;
  }
}

function fixture(name: string): string {
  return readFileSync(join(import.meta.dirname, 'fixtures', `${name}.yaml`), 'utf8');
}
