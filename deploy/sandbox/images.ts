import { join } from 'node:path';
import { MeshError } from '../../base/errors.ts';
import { programCommand } from '../../mesh/runtime/program-command.ts';
import type { ImageMap } from './api.ts';
import type { ContainerSpec } from './pod-spec.ts';

const ROOT = join(import.meta.dirname, '..', '..');
const FOLDER = join(import.meta.dirname, 'images');

/** As the control plane names it in what it asks to be run. */
export const WAYPOINT_IMAGE = 'halo/waypoint';

/** Programs that every sandbox has: samples, and what the mesh runs in pods. */
export const BUILT_IN_IMAGES: ImageMap = {
  'halo/echo': programCommand(join(FOLDER, 'echo.ts')),
  'halo/client': programCommand(join(FOLDER, 'client.ts')),
  [WAYPOINT_IMAGE]: programCommand(join(ROOT, 'waypoint', 'main.ts')),
};

/**
 * The local command of a container: its own `command`, else the command of its image; then its `args`.
 * An image is looked up as it is written, then without its tag or digest.
 *
 * @throws {MeshError} ERR_IMAGE when there is neither.
 */
export function containerCommand(
  container: ContainerSpec,
  images: ReadonlyMap<string, readonly string[]>,
): readonly string[] {
  if (container.command.length > 0) return [...container.command, ...container.args];
  const { image } = container;
  const found = images.get(image) ?? images.get(withoutTag(image));
  if (found !== undefined && found.length > 0) return [...found, ...container.args];
  const name = image === '' ? 'a container without image' : image;
  throw new MeshError(
    'ERR_IMAGE',
    'local',
    `Cannot run ${name} in container ${container.name}: the sandbox runs local commands, and knows none for it; ` +
      `give the container a command, or name one with --image ${image === '' ? 'NAME' : image}=COMMAND`,
  );
}

/** `registry:5000/echo:1.2@sha256:...` -> `registry:5000/echo`. */
export function withoutTag(image: string): string {
  const plain = image.split('@')[0] ?? image;
  const slash = plain.lastIndexOf('/');
  const colon = plain.indexOf(':', slash + 1);
  return colon < 0 ? plain : plain.slice(0, colon);
}
