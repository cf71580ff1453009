import { parsePathTemplate } from './path-template.ts';
import { makeValue, type Mark, type PolicyValue } from './value-tables.ts';

type Node = {
  readonly byText: Map<string, Node>;
  one: Node | undefined;
  /** A template that ends here. */
  value: PolicyValue | undefined;
  /** Templates that go on with `{**}`, by their ending. */
  readonly rest: Map<string, PolicyValue>;
};

/** Path templates as a tree of segments: a path is led through it once, whatever the number of templates. */
export class TemplateTable {
  readonly #dimension: number;
  readonly #root = newNode();

  constructor(dimension: number) {
    this.#dimension = dimension;
  }

  /** @throws {MeshError} ERR_PATH_TEMPLATE */
  value(template: string): PolicyValue {
    const { segments, ending } = parsePathTemplate(template);
    const way: (readonly [Node, string | undefined])[] = [];
    let node = this.#root;
    for (const segment of segments) {
      way.push([node, segment]);
      node = childOf(node, segment);
    }
    const last = node;
    if (ending === undefined) {
      const forget = (): void => {
        last.value = undefined;
        prune(way, last);
      };
      return (last.value ??= makeValue(this.#dimension, forget));
    }
    const known = last.rest.get(ending);
    if (known !== undefined) return known;
    const value = makeValue(this.#dimension, () => {
      last.rest.delete(ending);
      prune(way, last);
    });
    last.rest.set(ending, value);
    return value;
  }

  find(path: string, mark: Mark): void {
    if (path.startsWith('/') && !isEmpty(this.#root)) findBelow(this.#root, path, 1, mark);
  }
}

/** @param from where the next segment begins; beyond the end of the path when there is none. */
function findBelow(node: Node, path: string, from: number, mark: Mark): void {
  if (from > path.length) {
    mark(node.value);
    return;
  }
  for (const [ending, value] of node.rest)
    if (path.length - ending.length >= from && path.endsWith(ending)) mark(value);
  if (node.byText.size === 0 && node.one === undefined) return;
  const slash = path.indexOf('/', from);
  const end = slash === -1 ? path.length : slash;
  const below = node.byText.get(path.slice(from, end));
  if (below !== undefined) findBelow(below, path, end + 1, mark);
  if (node.one !== undefined && end > from) findBelow(node.one, path, end + 1, mark);
}

function newNode(): Node {
  return { byText: new Map(), one: undefined, value: undefined, rest: new Map() };
}

function childOf(node: Node, segment: string | undefined): Node {
  if (segment === undefined) return (node.one ??= newNode());
  const child = node.byText.get(segment) ?? newNode();
  node.byText.set(segment, child);
  return child;
}

function isEmpty({ byText, one, value, rest }: Node): boolean {
  return byText.size === 0 && one === undefined && value === undefined && rest.size === 0;
}

/** Takes away the nodes that nothing ends at or goes through. */
function prune(way: readonly (readonly [Node, string | undefined])[], last: Node): void {
  let node = last;
  for (const [parent, segment] of way.toReversed()) {
    if (!isEmpty(node)) return;
    if (segment === undefined) parent.one = undefined;
    else parent.byText.delete(segment);
    node = parent;
  }
}
