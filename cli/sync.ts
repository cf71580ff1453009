import type { PartStatus } from '../deploy/sandbox/api.ts';
import { readAdminJson } from './admin-pages.ts';
import { listAt, numberAt, textAt, valueAt } from './object-fields.ts';

/** How far a proxy is with what the control plane has sent it. */
export type ProxySync = Readonly<{
  name: string;
  node: string;
  /** The revision that it has acknowledged in full. */
  revision: number;
  inSync: boolean;
  /** Why not, such as what it refused. */
  detail: string;
}>;

/** Reads the control plane's `/debug/syncz`. @throws {MeshError} ERR_ADMIN_PAGE. */
export async function readSync(controlPlane: PartStatus): Promise<ProxySync[]> {
  const page = await readAdminJson(controlPlane, '/debug/syncz');
  return listAt(page, 'proxies').map((proxy) => ({
    name: proxyName(textAt(proxy, 'proxy')),
    node: textAt(proxy, 'node'),
    revision: numberAt(proxy, 'acknowledged'),
    inSync: valueAt(proxy, 'synced') === true,
    detail: listAt(proxy, 'rejections')
      .map((rejection) => textAt(rejection, 'message') || JSON.stringify(rejection))
      .join('; '),
  }));
}

/** A proxy without the revision that was waited for. */
export type Laggard = Readonly<{ proxy: string; acknowledged: number; reason: string }>;

/** The answer of the control plane's `/debug/wait`. */
export type ProxyWait = Readonly<{
  revision: number;
  done: boolean;
  proxies: number;
  laggards: readonly Laggard[];
}>;

/** Beyond the time that the control plane itself waits: for its answer to arrive. */
const ANSWER_MARGIN_MS = 2_000;
/** The longest that the control plane lets one question wait. */
const MAX_WAIT_MS = 600_000;

/**
 * Waits until every connected proxy has acknowledged a revision, the newest one unless named.
 *
 * @throws {MeshError} ERR_ADMIN_PAGE.
 */
export async function waitForProxies(
  controlPlane: PartStatus,
  timeoutMs: number,
  revision?: number,
): Promise<ProxyWait> {
  const query = new URLSearchParams({
    ...(revision === undefined ? {} : { revision: String(revision) }),
    timeout: (Math.min(timeoutMs, MAX_WAIT_MS) / 1000).toFixed(3),
  });
  const path = `/debug/wait?${query.toString()}`;
  const answer = await readAdminJson(controlPlane, path, {
    timeoutMs: Math.ceil(timeoutMs) + ANSWER_MARGIN_MS,
  });
  return {
    revision: numberAt(answer, 'revision'),
    done: valueAt(answer, 'done') === true,
    proxies: numberAt(answer, 'proxies'),
    laggards: listAt(answer, 'laggards').map((laggard) => ({
      proxy: proxyName(textAt(laggard, 'proxy')),
      acknowledged: numberAt(laggard, 'acknowledged'),
      reason: textAt(laggard, 'reason'),
    })),
  };
}

/** What the control plane could not take from its files, and conditions that are not met; one line each. */
export async function readConfigProblems(controlPlane: PartStatus): Promise<string[]> {
  const page = await readAdminJson(controlPlane, '/debug/errors');
  return [
    ...listAt(page, 'problems').map((problem) => textAt(problem, 'text')),
    ...listAt(page, 'conditions').map((condition) => {
      const [object, type, reason, message] = ['object', 'type', 'reason', 'message'].map((field) =>
        textAt(condition, field),
      );
      return `${object ?? ''}: ${type ?? ''} is not met (${reason ?? ''}): ${message ?? ''}`;
    }),
  ];
}

/** A proxy calls itself `<type>~<ip>~<pod>.<namespace>~<domain>`; the third part is what people know it by. */
function proxyName(id: string): string {
  return id.split('~')[2] ?? id;
}
