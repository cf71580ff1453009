import { describeError } from '../base/errors.ts';
import type { PartStatus, SandboxStatus } from '../deploy/sandbox/api.ts';
import type { Severity } from '../mesh/kubernetes/problem.ts';
import { formatAge } from './age.ts';
import { readAdminJson } from './admin-pages.ts';
import { readConfigProblems, readSync } from './sync.ts';
import { leafCertificates, type ConfigDump } from './ztunnel-tables.ts';

/** Something about a running mesh that is not as it should be. */
export type MeshFinding = Readonly<{ severity: Severity; subject: string; message: string }>;

/** Certificates are renewed at half of their life; with less than this of it left, renewal has failed for long. */
const WORRYING_SHARE_LEFT = 0.05;

/** Looks at everything in a running mesh that can be wrong without anybody having been told. */
export async function checkMesh(status: SandboxStatus): Promise<MeshFinding[]> {
  const ready = status.parts.filter((part) => part.state === 'ready');
  const findings = await Promise.all([
    ...ready
      .filter(({ kind }) => kind === 'ztunnel')
      .map((part) => guarded(part, checkCertificates)),
    ...ready.filter(({ kind }) => kind === 'istiod-lite').map((part) => guarded(part, checkSync)),
  ]);
  return [...checkParts(status), ...checkPods(status), ...findings.flat()];
}

/** A part that does not answer is a finding of its own. */
async function guarded(
  part: PartStatus,
  check: (part: PartStatus) => Promise<MeshFinding[]>,
): Promise<MeshFinding[]> {
  try {
    return await check(part);
  } catch (error) {
    return [{ severity: 'error', subject: part.name, message: describeError(error) }];
  }
}

function checkParts({ parts, problems }: SandboxStatus): MeshFinding[] {
  const unready = parts.filter((part) => part.state !== 'ready');
  return [
    ...unready.map(({ name, state, detail = 'not ready' }): MeshFinding => {
      return { severity: 'error', subject: name, message: `${state}: ${detail}` };
    }),
    ...problems.map((message): MeshFinding => ({ severity: 'error', subject: 'sandbox', message })),
  ];
}

function checkPods({ pods }: SandboxStatus): MeshFinding[] {
  return pods.flatMap((pod): MeshFinding[] => {
    const subject = `${pod.namespace}/${pod.name}`;
    const findings: MeshFinding[] = [];
    if (pod.enrolment === 'pending' || pod.enrolment === 'waiting')
      findings.push({ severity: 'error', subject, message: `enrolment is ${pod.enrolment}` });
    if (pod.openPlainConnections > 0)
      findings.push({
        severity: 'warning',
        subject,
        message:
          `${pod.openPlainConnections} plain connections were open when it was enrolled, and policy does not reach them; ` +
          'end them with: halo label --reset-open',
      });
    if (!pod.ready && pod.phase !== 'Succeeded')
      findings.push({ severity: 'warning', subject, message: pod.detail ?? 'it is not ready' });
    return findings;
  });
}

async function checkCertificates(part: PartStatus): Promise<MeshFinding[]> {
  const dump = (await readAdminJson(part, '/config_dump')) as ConfigDump;
  const nowMs = Date.now();
  return leafCertificates(dump).flatMap(
    ({ identity, state, notBefore, notAfter }): MeshFinding[] => {
      const subject = `${identity} on ${part.node ?? part.name}`;
      if (state !== 'Available') return [{ severity: 'error', subject, message: state }];
      const endMs = Date.parse(notAfter);
      const left = (endMs - nowMs) / (endMs - Date.parse(notBefore));
      if (left > WORRYING_SHARE_LEFT) return [];
      const message =
        left <= 0
          ? 'its certificate has expired'
          : `its certificate ends in ${formatAge(endMs - nowMs)} and has not been renewed`;
      return [{ severity: left <= 0 ? 'error' : 'warning', subject, message }];
    },
  );
}

async function checkSync(part: PartStatus): Promise<MeshFinding[]> {
  const [proxies, problems] = await Promise.all([readSync(part), readConfigProblems(part)]);
  return [
    ...proxies
      .filter((proxy) => !proxy.inSync)
      .map(({ name, revision, detail }): MeshFinding => {
        const message = `behind: it has revision ${revision}${detail === '' ? '' : `; ${detail}`}`;
        return { severity: 'error', subject: name, message };
      }),
    ...problems.map(
      (message): MeshFinding => ({ severity: 'warning', subject: part.name, message }),
    ),
  ];
}
