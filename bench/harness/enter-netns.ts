import { readlinkSync } from 'node:fs';

/**
 * Makes a command run in a network namespace, and in no other namespace of a process beside it. The process that is started is the
 * command's own.
 *
 * @param insider a process whose user namespace owns the network namespace.
 * @param netns path of the network namespace.
 */
export function enterNetns(insider: number, netns: string, command: readonly string[]): string[] {
  const user =
    readlinkSync(`/proc/${insider}/ns/user`) === readlinkSync('/proc/self/ns/user')
      ? []
      : ['--target', String(insider), '--user', '--preserve-credentials'];
  return ['nsenter', ...user, `--net=${netns}`, ...command];
}
