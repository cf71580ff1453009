import { SEMI_SPACE_MB } from './young-generation.ts';

/**
 * What Node is told for every program. V8 has one thread of its own, which compiles and collects, in the place of four: each
 * keeps the native memory of its largest task. See docs/decisions/memory.md.
 */
const NODE_FLAGS = [
  '--disable-warning=ExperimentalWarning',
  '--v8-pool-size=1',
  `--max-semi-space-size=${SEMI_SPACE_MB}`,
] as const;

/**
 * What the C library is told, which reads it from the environment alone. Of each size of small memory a thread keeps so many that were
 * freed, in the place of 7: a handshake of TLS has more than that at a time, and each one beyond takes the long way. All that a
 * thread keeps is 2 MB at the most. See docs/decisions/cost-of-a-session.md.
 */
const LIBC_SETTINGS = 'GLIBC_TUNABLES=glibc.malloc.tcache_count=64';

/** The command that runs a program of ours with the Node that runs us. */
export function programCommand(file: string, moreFlags: readonly string[] = []): string[] {
  return ['env', LIBC_SETTINGS, process.execPath, ...NODE_FLAGS, ...moreFlags, file];
}
