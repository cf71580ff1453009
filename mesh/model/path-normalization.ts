/** Istio's ways of `pathNormalization`, by its names. */
export const PATH_NORMALIZATIONS = [
  'NONE',
  'BASE',
  'MERGE_SLASHES',
  'DECODE_AND_MERGE_SLASHES',
] as const;

/**
 * What is done to a path before policy and routing see it; what they see is what goes to the backend.
 *
 * - STRICT, the default: slashes are merged, what may be is decoded, dot segments resolved, and what servers read in more than one
 *   way is refused
 * - NONE: as it came
 * - BASE: unreserved characters are decoded, `\` is taken for `/`, dot segments are resolved
 * - MERGE_SLASHES: BASE, then several slashes are one
 * - DECODE_AND_MERGE_SLASHES: encoded slashes and backslashes are slashes, then MERGE_SLASHES
 */
export type PathNormalization = 'STRICT' | (typeof PATH_NORMALIZATIONS)[number];
