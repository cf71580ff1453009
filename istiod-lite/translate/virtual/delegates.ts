import type { HttpMatch } from '../../../mesh/model/http-route.ts';
import { formatObject } from '../../../mesh/kubernetes/object.ts';
import type { VirtualHttpRoute } from '../../../mesh/kubernetes/virtual-service.ts';
import { isExported } from '../hosts.ts';
import { bothMatch, translateMatches, type TranslatedMatches } from './matches.ts';
import type { VirtualParts } from './parts.ts';

/** A rule of a VirtualService that was delegated to, with what its delegating rule adds; or why there is none. */
export type DelegatedRule = Readonly<
  | {
      route: VirtualHttpRoute;
      index: number;
      matches: TranslatedMatches;
      parts: VirtualParts;
    }
  | { problem: string; matches: readonly HttpMatch[] }
>;

/**
 * The rules that a delegating one stands for, in their order. Where it leads nowhere its requests are refused: they must not
 * come to a rule that is not for them.
 *
 * @param matches of the delegating rule.
 */
export function delegated(
  root: VirtualHttpRoute,
  matches: TranslatedMatches,
  parts: VirtualParts,
): DelegatedRule[] {
  if (matches !== 'all' && matches.length === 0) return [];
  const refused = (problem: string): DelegatedRule[] => {
    parts.note(`${problem}: its requests are answered with 500`);
    return [{ problem, matches: matches === 'all' ? [] : matches.map(({ match }) => match) }];
  };
  const own = parts.virtual.ref.namespace;
  const { name = '', namespace = '' } = root.delegate ?? {};
  const leaf = parts.picture.get('VirtualService', namespace || own, name);
  if (leaf === undefined)
    return refused(`VirtualService ${namespace || own}/${name} does not exist`);
  const said = formatObject(leaf.ref);
  if (!isExported(leaf.spec.exportTo, leaf.ref.namespace, own))
    return refused(`${said} is not exported to ${own}`);
  if (leaf.spec.hosts.length > 0)
    return refused(`${said} has hosts of its own, so nothing can be delegated to it`);
  const { http } = leaf.spec;
  const rules = http.map((route, index): DelegatedRule => {
    const note = (message: string): void => {
      parts.note(`${said}: http[${index}]: ${message}`);
    };
    const inner = { ...parts, virtual: leaf, note };
    const within = join(matches, translateMatches(route, inner), note);
    return { route: inherit(root, route), index, matches: within, parts: inner };
  });
  return rules;
}

/** Both hold; a pair of which the second is not within the first is left out, as upstream leaves it out. */
function join(
  outer: TranslatedMatches,
  inner: TranslatedMatches,
  note: (message: string) => void,
): TranslatedMatches {
  if (outer === 'all') return inner;
  if (inner === 'all') return outer;
  return inner.flatMap((leaf, index) => {
    const joined = outer.flatMap((root) => bothMatch(root, leaf) ?? []);
    if (joined.length === 0)
      note(`match[${index}] is left out: it is not within the delegating rule's`);
    return joined;
  });
}

/** What a rule does not say itself, the delegating one says for it. */
function inherit(root: VirtualHttpRoute, leaf: VirtualHttpRoute): VirtualHttpRoute {
  return {
    ...leaf,
    rewrite: leaf.rewrite ?? (leaf.redirect === undefined ? root.rewrite : undefined),
    timeout: leaf.timeout ?? root.timeout,
    retries: leaf.retries ?? root.retries,
    fault: leaf.fault ?? root.fault,
    corsPolicy: leaf.corsPolicy ?? root.corsPolicy,
    headers: leaf.headers ?? root.headers,
    ...(leaf.mirror === undefined && leaf.mirrors.length === 0
      ? {
          ...{ mirror: root.mirror, mirrors: root.mirrors },
          ...{ mirrorPercentage: root.mirrorPercentage, mirrorPercent: root.mirrorPercent },
        }
      : {}),
  };
}
