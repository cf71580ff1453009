import { controlPlaneOf } from '../../../cli/parts.ts';
import { fetchAdmin } from '../../../mesh/admin/client.ts';
import type { Mesh } from '../../support/mesh.ts';
import { policyYaml } from '../../support/mesh-policies.ts';
import { podYaml } from '../../support/mesh-yaml.ts';

/** So many pods that come and go are there at once. */
const PODS = 3;
const ROTATION_STEPS = ['begin', 'switch', 'finish'] as const;

/** Changes a mesh all the time, in ways that must not matter to those who do not change. */
export class Churn {
  readonly #mesh: Mesh;
  #turn = 0;
  #rotation = 0;
  /** What was asked for and refused: a part that a fault has taken away. */
  refused = 0;

  constructor(mesh: Mesh) {
    this.#mesh = mesh;
  }

  /** A pod comes and one goes; a policy comes and one goes. */
  async turn(): Promise<void> {
    const turn = this.#turn++;
    const denial = {
      action: 'DENY',
      rules: [{ from: [{ source: { principals: [`*/sa/passer-${turn}`] } }] }],
    };
    await this.#try(async () => {
      const pod = podYaml(`passer-${turn}`, { node: `node-${(turn % 2) + 1}` });
      await this.#mesh.applySoon(pod, policyYaml(`denial-${turn}`, denial));
      if (turn < PODS) return;
      const old = turn - PODS;
      await this.#mesh.deleteSoon('Pod', `passer-${old}`);
      await this.#mesh.deleteSoon('ServiceAccount', `passer-${old}`);
      await this.#mesh.deleteSoon('AuthorizationPolicy', `denial-${old}`);
    });
  }

  /** One more step of changing the root; one that was refused is asked for again the next time. */
  async rotate(): Promise<void> {
    const step = ROTATION_STEPS[this.#rotation % ROTATION_STEPS.length] ?? 'begin';
    await this.#try(async () => {
      const path = controlPlaneOf(await this.#mesh.sandbox.status()).adminSocket;
      const page = `/ca/rotate?step=${step}`;
      const { status, body } = await fetchAdmin({ kind: 'unix', path }, page, { method: 'POST' });
      if (status !== 200) throw new Error(body);
      this.#rotation++;
    });
  }

  async #try(change: () => Promise<void>): Promise<void> {
    try {
      await change();
    } catch {
      this.refused++;
    }
  }
}
