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

/** The command that runs a program of ours with the Node that runs us. */
export function programCommand(file: string, moreFlags: readonly string[] = []): string[] {
  return [process.execPath, ...NODE_FLAGS, ...moreFlags, file];
}
