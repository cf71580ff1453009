/** What kinds of path stand in the trie; `prefix` is of whole segments, `text-prefix` of characters. */
export type TriePathKind = 'exact' | 'prefix' | 'text-prefix';

const SLASH = 0x2f;

/** What a look-up found; kept by who asks, so that finding allocates nothing. */
export class Found<T> {
  readonly #items: T[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  at(index: number): T | undefined {
    return this.#items[index];
  }

  add(item: T): void {
    this.#items[this.#length++] = item;
  }

  clear(): void {
    this.#length = 0;
  }
}

class Node<T> {
  /** The characters between the parent and this node. */
  readonly label: string;
  /** By the first character of their labels. */
  readonly children = new Map<number, Node<T>>();
  exact: T | undefined;
  prefix: T | undefined;
  textPrefix: T | undefined;

  constructor(label: string) {
    this.label = label;
  }
}

/**
 * Values by path, as a radix tree: however many paths it holds, a look-up compares each character of the asked path once,
 * and takes no part of it as a string of its own.
 */
export class PathTrie<T> {
  readonly #root = new Node<T>('');
  readonly #make: () => T;

  /** @param make the value of a path that had none. */
  constructor(make: () => T) {
    this.#make = make;
  }

  /** The value of that path and kind. A slash at the end of a prefix of segments means nothing: `/a/` is `/a`, `/` is all. */
  slot(kind: TriePathKind, path: string): T {
    const node = this.#nodeAt(kind === 'prefix' ? withoutLastSlash(path) : path);
    switch (kind) {
      case 'exact':
        return (node.exact ??= this.#make());
      case 'prefix':
        return (node.prefix ??= this.#make());
      case 'text-prefix':
        return (node.textPrefix ??= this.#make());
    }
  }

  /**
   * Appends the values of all paths that the first `length` characters of `path` match: prefixes from the shortest to the
   * longest, then the exact one.
   */
  collect(path: string, length: number, found: Found<T>): void {
    let node: Node<T> | undefined = this.#root;
    let position = 0;
    for (;;) {
      if (node.textPrefix !== undefined) found.add(node.textPrefix);
      const atEnd = position === length;
      // Also the prefix `/`, the root: `*` and the missing path of CONNECT do not begin with it.
      const endsSegment = atEnd ? position > 0 : path.charCodeAt(position) === SLASH;
      if (node.prefix !== undefined && endsSegment) found.add(node.prefix);
      if (atEnd) {
        if (node.exact !== undefined) found.add(node.exact);
        return;
      }
      node = node.children.get(path.charCodeAt(position));
      if (node === undefined) return;
      const { label } = node;
      if (position + label.length > length || !path.startsWith(label, position)) return;
      position += label.length;
    }
  }

  #nodeAt(path: string): Node<T> {
    let node = this.#root;
    let rest = path;
    while (rest !== '') {
      const code = rest.charCodeAt(0);
      const child = node.children.get(code);
      if (child === undefined) {
        const leaf = new Node<T>(rest);
        node.children.set(code, leaf);
        return leaf;
      }
      const common = commonLength(child.label, rest);
      node = common === child.label.length ? child : split(node, child, common);
      rest = rest.slice(common);
    }
    return node;
  }
}

/** Puts a node between a parent and its child, `length` characters below the parent. */
function split<T>(parent: Node<T>, child: Node<T>, length: number): Node<T> {
  const { label } = child;
  const middle = new Node<T>(label.slice(0, length));
  const lower = new Node<T>(label.slice(length));
  lower.exact = child.exact;
  lower.prefix = child.prefix;
  lower.textPrefix = child.textPrefix;
  for (const [code, grandchild] of child.children) lower.children.set(code, grandchild);
  middle.children.set(lower.label.charCodeAt(0), lower);
  parent.children.set(label.charCodeAt(0), middle);
  return middle;
}

function commonLength(a: string, b: string): number {
  const most = Math.min(a.length, b.length);
  let length = 0;
  while (length < most && a.charCodeAt(length) === b.charCodeAt(length)) length++;
  return length;
}

function withoutLastSlash(path: string): string {
  return path.endsWith('/') ? path.slice(0, -1) : path;
}

/** Letters of ASCII alone: other bytes are parts of characters, which must not be taken for each other. */
export function lowerCase(path: string): string {
  return path.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
