import { join } from 'node:path';

/**
 * Where programs keep their compiled code, so that types are stripped once and not at each start: the folder that is
 * in force already (NODE_COMPILE_CACHE), else the one of this user that all sandboxes share and that the `halo`
 * command uses too, else one inside the sandbox's state folder.
 */
export function compileCache(stateFolder: string, env: NodeJS.ProcessEnv = process.env): string {
  const inForce = env['NODE_COMPILE_CACHE'];
  if (isAbsolute(inForce)) return inForce;
  const { XDG_CACHE_HOME: cache, HOME: home } = env;
  if (isAbsolute(cache)) return join(cache, 'halo', 'node');
  if (isAbsolute(home)) return join(home, '.cache', 'halo', 'node');
  return join(stateFolder, 'compile-cache');
}

function isAbsolute(path: string | undefined): path is string {
  return path?.startsWith('/') === true;
}
