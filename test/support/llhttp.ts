import { createRequire } from 'node:module';

type HeadersComplete = (
  major: number,
  minor: number,
  headers: string[] | undefined,
  method: number | undefined,
  url: string | undefined,
) => number;

/** What of Node's own parser is used here; it is llhttp with these callbacks, and strict as node:http has it. */
type NodeParser = {
  initialize(type: number, resource: object): void;
  execute(bytes: Buffer): number | Error;
  [callback: number]: unknown;
};

type NodeParserClass = {
  new (): NodeParser;
  readonly REQUEST: number;
  readonly kOnHeaders: number;
  readonly kOnHeadersComplete: number;
  readonly kOnBody: number;
  readonly kOnMessageComplete: number;
};

const { HTTPParser, methods } = createRequire(import.meta.url)('node:_http_common') as {
  HTTPParser: NodeParserClass;
  methods: readonly string[];
};

export type LlhttpMessage = {
  method: string;
  url: string;
  minor: number;
  /** Names in lower case. */
  fields: string[];
  body: string;
  done: boolean;
};

/** The requests that llhttp reads in the bytes of one connection, and its error's code, '' without one. */
export function llhttpRequests(bytes: Buffer): { messages: LlhttpMessage[]; error: string } {
  const messages: LlhttpMessage[] = [];
  const parser = new HTTPParser();
  let early: string[] = [];
  let url = '';
  let inBody = false;
  parser.initialize(HTTPParser.REQUEST, {});
  parser[HTTPParser.kOnHeaders] = (headers: string[], part: string): void => {
    if (inBody) return; // trailers
    early.push(...headers);
    url += part;
  };
  const onHead: HeadersComplete = (_major, minor, headers = [], method = -1, rest = '') => {
    const all = [...early, ...headers];
    const fields = all.map((text, index) => (index % 2 === 0 ? text.toLowerCase() : text));
    const name = methods[method] ?? '';
    messages.push({ method: name, url: url + rest, minor, fields, body: '', done: false });
    early = [];
    url = '';
    inBody = true;
    return 0;
  };
  parser[HTTPParser.kOnHeadersComplete] = onHead;
  parser[HTTPParser.kOnBody] = (part: Buffer): void => {
    const last = messages.at(-1);
    if (last !== undefined) last.body += part.toString('latin1');
  };
  parser[HTTPParser.kOnMessageComplete] = (): void => {
    const last = messages.at(-1);
    if (last !== undefined) last.done = true;
    inBody = false;
  };
  const result = parser.execute(bytes);
  return { messages, error: result instanceof Error ? String(Reflect.get(result, 'code')) : '' };
}
