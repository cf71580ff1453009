import { createPrivateKey } from 'node:crypto';
import { readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeSigner } from '../../certs/issue.ts';
import { netnsPath } from '../../deploy/sandbox/networks.ts';
import { OUTSIDE, type Mesh } from './mesh.ts';
import { runProgram, type Ended } from './run-program.ts';
import { TemporaryFolder } from './temporary-folder.ts';
import { issueBy, type TestCa } from './test-ca.ts';
import type { TunnelCertificate, TunnelReport, TunnelTask } from './tunnel-task.ts';

const NODE = [process.execPath, '--disable-warning=ExperimentalWarning'];
const TUNNEL_PROGRAM = join(import.meta.dirname, 'tunnel-program.ts');
const CERTIFICATE_PROGRAM = join(import.meta.dirname, 'certificate-program.ts');

/** The control plane's address on the sandbox's network. */
const CONTROL_PLANE = 'https://172.18.0.2:15012';

/** Runs a scripted HBONE client in a pod, OUTSIDE, or a node's namespace (`node-1`). */
export async function tryTunnels(
  mesh: Mesh,
  where: string,
  task: TunnelTask,
): Promise<TunnelReport> {
  using folder = new TemporaryFolder();
  const file = join(folder.path, 'task.json');
  writeFileSync(file, JSON.stringify(task));
  const { stdout, stderr } = await runAt(mesh, where, [...NODE, TUNNEL_PROGRAM, file]);
  if (stdout === '') throw new Error(`no report: ${stderr}`);
  return JSON.parse(stdout) as TunnelReport;
}

/** Runs a command in a pod, OUTSIDE, or the namespace of a node or of the control plane. */
export async function runAt(mesh: Mesh, where: string, command: readonly string[]): Promise<Ended> {
  if (!where.startsWith('node-') && where !== 'control-plane') return mesh.exec(where, command);
  return runProgram('nsenter', [...(await insideSandbox(mesh, where)), ...command]);
}

/** Arguments by which `nsenter` runs a program, itself, in the namespace of a node or of the control plane. */
export async function insideSandbox(mesh: Mesh, namespace: string): Promise<string[]> {
  const { supervisorPid } = await mesh.sandbox.status();
  const ownUsers =
    readlinkSync(`/proc/${supervisorPid}/ns/user`) === readlinkSync('/proc/self/ns/user')
      ? []
      : ['--user', '--preserve-credentials'];
  const sandbox = ['--target', String(supervisorPid), ...ownUsers, '--mount', '--net'];
  return [...sandbox, 'nsenter', `--net=${netnsPath(namespace)}`];
}

/** What the CA answers to the node proxy of `node` (its own token) that asks for an identity. */
export async function askCa(
  mesh: Mesh,
  node: string,
  identity: string,
): Promise<TunnelCertificate | Readonly<{ refused: string; message: string }>> {
  const { parts, rootCertificate } = mesh.sandbox.paths;
  const token = join(parts, `ztunnel-${node}`, 'token');
  const args = [CONTROL_PLANE, rootCertificate, token, identity];
  const { stdout, stderr } = await mesh.exec(OUTSIDE, [...NODE, CERTIFICATE_PROGRAM, ...args]);
  if (stdout === '') throw new Error(`no answer: ${stderr}`);
  return JSON.parse(stdout) as Awaited<ReturnType<typeof askCa>>;
}

/** A genuine certificate, from the CA of the mesh. */
export async function genuineCertificate(
  mesh: Mesh,
  node: string,
  identity: string,
): Promise<TunnelCertificate> {
  const answer = await askCa(mesh, node, identity);
  if ('refused' in answer) throw new Error(answer.message);
  return answer;
}

/** Signs with the mesh's own root what its CA would never sign. */
export function forgingCa(mesh: Mesh): Pick<TestCa, 'issue'> {
  const kept = JSON.parse(readFileSync(join(mesh.sandbox.paths.ca, 'ca.json'), 'utf8')) as {
    signing: { certificatePem: string; privateKeyPem: string };
  };
  const { certificatePem, privateKeyPem } = kept.signing;
  return issueBy({
    rootPem: certificatePem,
    intermediatesPem: [],
    signer: makeSigner(certificatePem, createPrivateKey(privateKeyPem)),
  });
}
