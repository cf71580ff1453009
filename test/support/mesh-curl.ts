import type { Mesh } from './mesh.ts';

/** As long as a request may take on a loaded machine, in seconds. */
const LONGEST_SECONDS = '10';

/** curl in a pod of the mesh: answers with what it prints, and rejects when it says that something went wrong. */
export function curlIn(mesh: Mesh, pod: string): (...args: readonly string[]) => Promise<string> {
  return async (...args) => {
    const command = ['curl', '-sS', '-m', LONGEST_SECONDS, ...args];
    const { code, stdout, stderr } = await mesh.exec(pod, command);
    if (code !== 0) throw new Error(`curl ${args.join(' ')} ended with ${code}: ${stderr}`);
    return stdout;
  };
}
