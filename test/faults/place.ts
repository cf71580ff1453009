import { setTimeout as delay } from 'node:timers/promises';
import { outsidePid, processTree, readProc } from '../../bench/harness/processes.ts';
import type { Mesh } from '../support/mesh.ts';
import { runAt } from '../support/mesh-tunnels.ts';

const READY_TIMEOUT_MS = 20_000;
const POLL_MS = 10;
/** Of a waypoint. */
const READINESS_PORT = 15021;
/** npm puts packages' own commands first, and one of them is called nft too. */
const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** A mesh, as faults see it: its processes and its network namespaces. */
export class FaultPlace {
  readonly mesh: Mesh;
  /** Starts the loads' server in a pod anew, and resolves when it serves. */
  readonly serve: (pod: string) => Promise<void>;
  /** Where the loads' servers are. */
  readonly servers: string[] = [];
  /** What else connections pass, beside the pods that every mesh of faults has. */
  readonly pods: string[] = [];

  constructor(mesh: Mesh, serve: (pod: string) => Promise<void>) {
    this.mesh = mesh;
    this.serve = serve;
  }

  /** The process of a part, as this process numbers it. */
  async partPid(part: string): Promise<number> {
    const { parts, supervisorPid } = await this.mesh.sandbox.status();
    const pid = parts.find(({ name }) => name === part)?.pid;
    return known(pid, supervisorPid, part);
  }

  /** The process of the peer in a pod, or OUTSIDE, as this process numbers it. */
  async peerPid(pod: string): Promise<number> {
    const { supervisorPid } = await this.mesh.sandbox.status();
    const { pid } = await (await this.mesh.peer(pod)).ask('self', {});
    return known(pid, supervisorPid, pod);
  }

  /** Ends a part without warning; resolves with how to wait for the process that replaces it. */
  async killPart(part: string): Promise<() => Promise<void>> {
    const { parts, supervisorPid } = await this.mesh.sandbox.status();
    const pid = parts.find(({ name }) => name === part)?.pid;
    process.kill(known(pid, supervisorPid, part), 'SIGKILL');
    return () => this.partReady(part, pid);
  }

  /** The process of a waypoint in its pod, as this process numbers it. */
  async waypointPid(pod: string): Promise<number> {
    const { supervisorPid } = await this.mesh.sandbox.status();
    const name = `POD_NAME=${pod.split('/')[1] ?? ''}`;
    const found = processTree(supervisorPid).find(
      (pid) =>
        readProc(`/proc/${pid}/cmdline`).includes('waypoint/main.ts') &&
        readProc(`/proc/${pid}/environ`).split('\0').includes(name),
    );
    if (found === undefined) throw new Error(`${pod} has no process of a waypoint`);
    return found;
  }

  /** Ends a waypoint without warning; resolves with how to wait for the process that replaces it. */
  async killWaypoint(pod: string): Promise<() => Promise<void>> {
    const pid = await this.waypointPid(pod);
    process.kill(pid, 'SIGKILL');
    return () => this.#waypointReady(pod, pid);
  }

  async #waypointReady(pod: string, but: number): Promise<void> {
    const deadlineMs = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      const pid = await this.waypointPid(pod).catch(() => but);
      if (pid !== but) {
        const look = `curl -sf -m 1 http://127.0.0.1:${READINESS_PORT}/healthz/ready || true`;
        if ((await this.run(pod, look)) !== '') return;
      }
      if (performance.now() > deadlineMs) throw new Error(`${pod} is not ready again`);
      await delay(POLL_MS);
    }
  }

  /** Resolves when a part answers that it is ready; `but`: as another process than this, as the sandbox numbers it. */
  async partReady(part: string, but?: number): Promise<void> {
    const deadlineMs = performance.now() + READY_TIMEOUT_MS;
    for (;;) {
      const { parts } = await this.mesh.sandbox.status();
      const found = parts.find(({ name }) => name === part);
      if (found?.state === 'ready' && found.pid !== but) return;
      if (performance.now() > deadlineMs) throw new Error(`${part} is ${found?.state ?? 'gone'}`);
      await delay(POLL_MS);
    }
  }

  /**
   * Runs a shell script in a pod (`shop/client`), OUTSIDE, or the namespace of a node or of the control plane.
   *
   * @throws {Error} with what it said when it fails.
   */
  async run(where: string, script: string): Promise<string> {
    const command = ['sh', '-ec', `PATH=${SYSTEM_PATH}; ${script}`];
    const { code, stdout, stderr } = await runAt(this.mesh, where, command);
    if (code !== 0) throw new Error(`${where}: ${script}: ${stderr}${stdout}`);
    return stdout;
  }
}

function known(pid: number | undefined, supervisorPid: number, what: string): number {
  const found = pid === undefined ? undefined : outsidePid(pid, supervisorPid);
  if (found === undefined) throw new Error(`${what} has no process`);
  return found;
}
