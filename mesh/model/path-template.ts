import { MeshError } from '../../base/errors.ts';

/** A path with operators for segments, as written: `/a/{*}/b/{**}`. Valid: see parsePathTemplate(). */
export type PathTemplate = Readonly<{ kind: 'template'; value: string }>;

/** One segment that is not empty. */
const ONE = '{*}';
/** Any text, slashes too. */
const REST = '{**}';

/** What a template asks of a path, in order. */
export type TemplateParts = Readonly<{
  /** A text, or `undefined` for `{*}`. */
  segments: readonly (string | undefined)[];
  /** After `{**}`: how the path must end. `undefined` where the template has none. */
  ending: string | undefined;
}>;

/** Whether a path in a policy is a template and not a text with `*` at an end. */
export function isPathTemplate(text: string): boolean {
  return text.includes(ONE) || text.includes(REST);
}

/**
 * Reads a template. Operators are whole segments, `{**}` stands at most once and behind all others, and there is no
 * other `*` or brace: as Istio's admission has it.
 *
 * @throws {MeshError} ERR_PATH_TEMPLATE
 */
export function parsePathTemplate(text: string): TemplateParts {
  const refuse = (why: string): MeshError =>
    new MeshError(
      'ERR_PATH_TEMPLATE',
      'local',
      `Cannot use path template ${JSON.stringify(text.slice(0, 80))}: ${why}`,
    );
  if (!text.startsWith('/')) throw refuse('it does not begin with "/"');
  const written = text.slice(1).split('/');
  const segments: (string | undefined)[] = [];
  for (const [index, segment] of written.entries()) {
    if (segment === ONE) {
      segments.push(undefined);
    } else if (segment === REST) {
      const behind = written.slice(index + 1);
      if (behind.some((each) => /[*{}]/.test(each)))
        throw refuse(`an operator stands behind ${REST}`);
      return { segments, ending: behind.map((each) => `/${each}`).join('') };
    } else {
      if (/[*{}]/.test(segment))
        throw refuse(`operators are the whole segments ${ONE} and ${REST}`);
      segments.push(segment);
    }
  }
  return { segments, ending: undefined };
}
