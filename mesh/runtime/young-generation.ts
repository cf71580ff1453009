/**
 * How much young objects fill before V8 collects them. With its own choice of 16 MB a thread keeps some 25 MB more than it
 * ever uses. See docs/decisions/memory.md.
 */
export const SEMI_SPACE_MB = 4;
/** V8 has three of them for each thread. */
export const YOUNG_GENERATION_MB = 3 * SEMI_SPACE_MB;
