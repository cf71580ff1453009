const PREFIX = '@request.auth.claims';
const DOTTED = /^(?:\.[^.[\]]+)+$/;
const BRACKETED = /^(?:\[[^[\]]+\])+$/;

/**
 * The path of a claim that a match names in the place of a header: `@request.auth.claims.a.b` or, for names with dots,
 * `@request.auth.claims[a][b]`. `undefined` for any other name; no header's name begins with `@`.
 */
export function parseClaimName(name: string): readonly string[] | undefined {
  if (!name.startsWith(PREFIX)) return undefined;
  const rest = name.slice(PREFIX.length);
  if (DOTTED.test(rest)) return rest.slice(1).split('.');
  return BRACKETED.test(rest) ? rest.slice(1, -1).split('][') : undefined;
}

/** The texts of a claim: itself, or those in its list; none of another kind, and none that is inherited. */
export function claimTexts(claims: object, path: readonly string[]): readonly string[] {
  let at: unknown = claims;
  for (const name of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, name)) return [];
    at = Reflect.get(at, name);
  }
  if (typeof at === 'string') return [at];
  return Array.isArray(at) ? at.filter((one) => typeof one === 'string') : [];
}
