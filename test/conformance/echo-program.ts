import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Mesh } from '../support/mesh.ts';
import { makeTestCa } from '../support/test-ca.ts';
import type { EchoAnswer, EchoRequest } from './echo/messages.ts';

const PROGRAM = join(import.meta.dirname, 'echo', 'main.ts');
const RUN = [process.execPath, '--disable-warning=ExperimentalWarning', PROGRAM];

/** The suite's image for the program that answers, and asks. */
export const ECHO_IMAGE = 'registry.k8s.io/gateway-api/conformance/echo-advanced';

/** What a sandbox runs for that image, and what its clients trust. @param folder is written to. */
export function echoProgram(
  folder: string,
): Readonly<{ command: readonly string[]; roots: string }> {
  const files = writeCertificate(folder);
  return { command: [...RUN, ...files.arguments], roots: files.roots };
}

/** Makes requests from inside a pod of that image, `<namespace>/<pod>`; of each, what came of it. */
export async function sendFrom(
  mesh: Mesh,
  pod: string,
  requests: readonly EchoRequest[],
  roots: string,
): Promise<readonly (readonly EchoAnswer[])[]> {
  const command = [
    ...['env', `NODE_EXTRA_CA_CERTS=${roots}`],
    ...[...RUN, 'client', JSON.stringify(requests)],
  ];
  const { code, stdout, stderr } = await mesh.exec(pod, command);
  if (code !== 0) throw new Error(`the client in ${pod} failed: ${stderr}`);
  return JSON.parse(stdout) as EchoAnswer[][];
}

/** What the image brings along: a certificate for its port with TLS, from a CA that the mesh knows nothing of. */
function writeCertificate(folder: string): { arguments: string[]; roots: string } {
  const certificate = makeTestCa().issue('spiffe://cluster.local/ns/none/sa/echo', {
    dnsNames: ['echo', 'echo-v1', 'echo-v2'],
  });
  const write = (name: string, text: string): string => {
    const path = join(folder, name);
    writeFileSync(path, text);
    return path;
  };
  const crt = write('cert.crt', certificate.chainPem.join(''));
  const key = write('cert.key', certificate.privateKeyPem);
  const roots = write('roots.crt', certificate.rootsPem.join(''));
  return { arguments: [`--crt=${crt}`, `--key=${key}`], roots };
}
