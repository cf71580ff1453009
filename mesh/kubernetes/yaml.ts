import {
  Composer,
  CST,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  Parser,
  visit,
  type Document,
  type Node,
  type ParsedNode,
} from 'yaml';
import type { ConfigProblem, FieldPath } from './problem.ts';
import type { JsonObject, JsonValue } from './schema.ts';

export type Place = Readonly<{ line: number; column: number }>;

export type YamlDocument = Readonly<{
  value: JsonValue;
  /** The place of a field, or of the nearest thing around it that is there. */
  locate(path: FieldPath): Place;
}>;

/** What may be read. Large enough for any cluster's objects, small enough that a hostile file is refused within 50 ms. */
export type YamlLimits = Readonly<{
  fileBytes: number;
  documents: number;
  /** Tokens of one document, as the lexer counts them; about eight to a line. */
  documentTokens: number;
  depth: number;
  /** Values of one document after aliases were followed. */
  documentValues: number;
}>;

/** A document of 1.5 MiB is the most that etcd stores; 100,000 tokens are far more than any such object has. */
export const YAML_LIMITS: YamlLimits = {
  fileBytes: 32 * 1024 * 1024,
  documents: 50_000,
  documentTokens: 40_000,
  depth: 64,
  documentValues: 40_000,
};

/** Lexemes that stand for no text of the file. */
const MARKS: ReadonlySet<string> = new Set([CST.DOCUMENT, CST.FLOW_END, CST.SCALAR]);

type Refusal = Readonly<{ offset: number; message: string; mend: string }>;

class YamlRefused extends Error {
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

/**
 * Reads the documents of a YAML file; empty ones are left out. What is wrong is returned as problems of the
 * file, and a document with an error is not returned. Refused besides syntax errors: duplicate keys, merge keys, tags,
 * keys that are no texts, and whatever passes the limits.
 */
export function parseYaml(
  text: string,
  file: string,
  limits: YamlLimits = YAML_LIMITS,
): { documents: YamlDocument[]; problems: ConfigProblem[] } {
  const lines = new LineCounter();
  lines.addNewLine(0);
  const documents: YamlDocument[] = [];
  const problems: ConfigProblem[] = [];
  const refuse = ({ offset, message, mend }: Refusal): void => {
    const { line, col } = lines.linePos(offset);
    const place = { file, line, column: col };
    problems.push({ ...place, severity: 'error', object: '', field: '', message, mend });
  };
  if (text.length > limits.fileBytes) {
    const message = `the file is too large: found ${text.length} characters, at most ${limits.fileBytes}`;
    refuse({ offset: 0, message, mend: 'split it into several files' });
    return { documents, problems };
  }
  try {
    for (const document of composeDocuments(text, lines, limits)) {
      try {
        const read = readDocument(document, lines, limits);
        if (read !== undefined) documents.push(read);
      } catch (error) {
        if (!(error instanceof YamlRefused)) throw error;
        refuse(error.refusal);
      }
    }
  } catch (error) {
    if (!(error instanceof YamlRefused)) throw error;
    refuse(error.refusal);
  }
  return { documents, problems };
}

/** Lexer, parser and composer driven step by step, so that the limits hold before memory is taken. */
function* composeDocuments(
  text: string,
  lines: LineCounter,
  limits: YamlLimits,
): Generator<Document.Parsed> {
  const parser = new Parser(lines.addNewLine);
  // uniqueKeys is checked below, in linear time; merge keys are seen there as plain keys.
  const composer = new Composer({ lineCounter: lines, uniqueKeys: false, version: '1.2' });
  let count = 0;
  for (const lexemes of lexDocuments(text, limits))
    for (const lexeme of lexemes) {
      const { offset } = parser;
      for (const token of parser.next(lexeme))
        for (const document of composer.next(token)) {
          if (++count > limits.documents)
            throw new YamlRefused({
              offset,
              message: `the file has more than ${limits.documents} documents`,
              mend: 'split it into several files',
            });
          yield document;
        }
      // What is open: the document itself, and a node to a level.
      if (parser.stack.length > limits.depth + 1) throw tooDeep(offset, limits);
    }
  for (const token of parser.end()) yield* composer.next(token);
  yield* composer.end();
}

/** The lexemes of one document after another. A third of the work of parsing, so what is too large is found here. */
function* lexDocuments(text: string, limits: YamlLimits): Generator<readonly string[]> {
  let lexemes: string[] = [];
  let flowDepth = 0;
  let offset = 0;
  for (const lexeme of new Lexer().lex(text)) {
    if (lexeme === CST.DOCUMENT) {
      yield lexemes;
      lexemes = [];
      flowDepth = 0;
    }
    if (lexeme === '[' || lexeme === '{') flowDepth++;
    if (lexeme === ']' || lexeme === '}') flowDepth--;
    if (flowDepth > limits.depth) throw tooDeep(offset, limits);
    lexemes.push(lexeme);
    if (lexemes.length > limits.documentTokens)
      throw tooLarge(offset, `more than ${limits.documentTokens} tokens`);
    if (!MARKS.has(lexeme)) offset += lexeme.length;
  }
  yield lexemes;
}

function tooLarge(offset: number, found: string): YamlRefused {
  return new YamlRefused({
    offset,
    message: `the document is too large: ${found}`,
    mend: 'no object of a cluster is like this; split it, or remove what was generated by mistake',
  });
}

function tooDeep(offset: number, { depth }: YamlLimits): YamlRefused {
  return tooLarge(offset, `deeper than ${depth} levels`);
}

function readDocument(
  document: Document.Parsed,
  lines: LineCounter,
  limits: YamlLimits,
): YamlDocument | undefined {
  const [first] = document.errors;
  if (first !== undefined)
    throw new YamlRefused({
      offset: first.pos[0],
      message: `cannot be read as YAML: ${first.message.split('\n')[0] ?? ''}`.replace(
        / at line \d+, column \d+:?$/,
        '',
      ),
      mend: '',
    });
  const root = document.contents;
  if (root === null || (isScalar(root) && root.value === null)) return undefined;
  const anchors = findAnchors(document);
  const budget = { left: limits.documentValues };
  const value = readNode(root, { anchors, budget, limits }, 1);
  return { value, locate: (path) => locate(root, path, lines) };
}

function findAnchors(document: Document.Parsed): ReadonlyMap<string, Node> {
  const anchors = new Map<string, Node>();
  visit(document, {
    Node: (_key, node) => {
      if (!isAlias(node) && node.anchor !== undefined) anchors.set(node.anchor, node);
    },
  });
  return anchors;
}

type Reading = Readonly<{
  anchors: ReadonlyMap<string, Node>;
  budget: { left: number };
  limits: YamlLimits;
}>;

function readNode(node: Node | null, reading: Reading, depth: number): JsonValue {
  if (node === null) return null;
  const offset = node.range?.[0] ?? 0;
  if (--reading.budget.left < 0)
    throw tooLarge(offset, `more than ${reading.limits.documentValues} values`);
  if (depth > reading.limits.depth) throw tooDeep(offset, reading.limits);
  if (isAlias(node)) {
    const target = reading.anchors.get(node.source);
    if (target === undefined)
      throw refused(offset, `names an anchor that is not there: *${node.source}`);
    // An anchor that holds its own alias ends at the depth limit; a bomb of them at the limit of values.
    return readNode(target, reading, depth + 1);
  }
  if (
    node.tag !== undefined &&
    !/^tag:yaml\.org,2002:(?:str|map|seq|int|float|bool|null)$/.test(node.tag)
  )
    throw refused(offset, `has a tag, which is not allowed: ${node.tag.slice(0, 80)}`);
  if (isScalar(node)) return readScalar(node.value, offset);
  if (isSeq<Node | null>(node)) return node.items.map((item) => readNode(item, reading, depth + 1));
  if (isMap<Node, Node | null>(node)) return readMap(node, reading, depth);
  throw refused(offset, 'holds something that is no value');
}

function readScalar(value: unknown, offset: number): JsonValue {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw refused(offset, `holds a value that JSON does not have (${typeof value})`);
}

function readMap(
  node: Readonly<{ items: readonly Readonly<{ key: Node; value: Node | null }>[] }>,
  reading: Reading,
  depth: number,
): JsonObject {
  // No prototype: `__proto__` and `constructor` are keys like any other.
  const entries = Object.create(null) as Record<string, JsonValue>;
  for (const { key, value } of node.items) {
    const offset = key.range?.[0] ?? 0;
    const name: unknown = isScalar(key) ? key.value : undefined;
    if (isScalar(key) && key.type === 'PLAIN' && name === '<<')
      throw refused(offset, 'has a merge key (<<), which is not allowed', 'write the fields out');
    if (typeof name !== 'string')
      throw refused(
        offset,
        'has a key that is no text',
        isScalar(key) ? `write ${JSON.stringify(String(name))}` : '',
      );
    if (name in entries)
      throw refused(offset, `has the key ${JSON.stringify(name.slice(0, 80))} twice`);
    entries[name] = readNode(value, reading, depth + 1);
  }
  return entries;
}

function refused(offset: number, what: string, mend = ''): YamlRefused {
  return new YamlRefused({ offset, message: `the document ${what}`, mend });
}

function locate(root: ParsedNode, path: FieldPath, lines: LineCounter): Place {
  let node: Node | null = root;
  let offset = root.range[0];
  for (const step of path) {
    if (isMap<Node, Node | null>(node)) {
      const pair: Readonly<{ key: Node; value: Node | null }> | undefined = node.items.find(
        ({ key }) => isScalar(key) && key.value === step,
      );
      if (pair === undefined) break;
      offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq<Node | null>(node) && typeof step === 'number') {
      const item: Node | null | undefined = node.items[step];
      if (item === undefined || item === null) break;
      offset = item.range?.[0] ?? offset;
      node = item;
    } else break;
  }
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
}
