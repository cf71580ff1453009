import { request as httpRequest, type IncomingMessage } from 'node:http';
import { MeshError } from '../../base/errors.ts';

/** Where a program's admin pages are. */
export type AdminTarget = Readonly<
  { kind: 'unix'; path: string } | { kind: 'tcp'; host: string; port: number }
>;

export type AdminRequestOptions = Readonly<{
  /** GET unless told otherwise. */
  method?: 'GET' | 'POST';
  body?: string;
  signal?: AbortSignal;
  /** 10 s unless told otherwise. */
  timeoutMs?: number;
}>;

export type AdminAnswer = Readonly<{ status: number; body: string }>;

const DEFAULT_TIMEOUT_MS = 10_000;
/** A dump of 200,000 workloads is about half of it. */
const MAX_ANSWER_BYTES = 256 * 1024 * 1024;

/**
 * Asks for a page.
 *
 * @param path with its query.
 * @throws {MeshError} ERR_ADMIN_REQUEST when it cannot be reached or does not answer in time.
 */
export async function fetchAdmin(
  target: AdminTarget,
  path: string,
  options: AdminRequestOptions = {},
): Promise<AdminAnswer> {
  const { method = 'GET', body = '', timeoutMs = DEFAULT_TIMEOUT_MS } = options;
  const timeout = AbortSignal.timeout(timeoutMs);
  const signal =
    options.signal === undefined ? timeout : AbortSignal.any([options.signal, timeout]);
  const where = target.kind === 'unix' ? { socketPath: target.path } : target;
  const { promise, resolve, reject } = Promise.withResolvers<AdminAnswer>();
  const request = httpRequest({
    ...{ ...where, path, method, signal, agent: false },
    headers: { host: 'localhost', 'content-length': Buffer.byteLength(body) },
  });
  request.on('error', reject);
  request.on('response', (response) => {
    const chunks: Buffer[] = [];
    let total = 0;
    response.on('error', reject);
    response.on('data', (chunk: Buffer) => {
      total += chunk.length;
      if (total <= MAX_ANSWER_BYTES) chunks.push(chunk);
      else response.destroy(new Error(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`));
    });
    response.on('end', () => {
      resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() });
    });
  });
  request.end(body);
  try {
    return await promise;
  } catch (cause) {
    const name = target.kind === 'unix' ? target.path : `${target.host}:${target.port}`;
    const message = `Cannot ask ${name} for ${path}`;
    throw new MeshError('ERR_ADMIN_REQUEST', 'upstream', message, { cause });
  }
}

/**
 * Asks for a page of JSON.
 *
 * @throws {MeshError} ERR_ADMIN_REQUEST as fetchAdmin(), and for any status but 200 or an answer that is no JSON.
 */
export async function fetchAdminJson(
  target: AdminTarget,
  path: string,
  options: AdminRequestOptions = {},
): Promise<unknown> {
  const { status, body } = await fetchAdmin(target, path, options);
  const refuse = (found: string): MeshError =>
    new MeshError('ERR_ADMIN_REQUEST', 'upstream', `Cannot use the answer for ${path}: ${found}`);
  if (status !== 200) throw refuse(`status ${status}, ${body.slice(0, 500).trim()}`);
  try {
    return JSON.parse(body) as unknown;
  } catch {
    throw refuse('it is no JSON');
  }
}

/**
 * The lines of a page that is told bit by bit, until it ends or `signal` aborts.
 *
 * @throws {MeshError} ERR_ADMIN_REQUEST when it cannot be reached or the status is not 200.
 */
export async function* streamAdminLines(
  target: AdminTarget,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<string> {
  const where = target.kind === 'unix' ? { socketPath: target.path } : target;
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const request = httpRequest({
    ...{ ...where, path, signal, agent: false, headers: { host: 'localhost' } },
  });
  request.on('error', reject);
  request.on('response', resolve);
  request.end();
  try {
    const response = await promise;
    let rest = '';
    for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      if (response.statusCode !== 200)
        throw new Error(`status ${response.statusCode ?? 0}, ${chunk.trim()}`);
      yield* lines;
    }
  } catch (cause) {
    if (signal.aborted) return;
    const name = target.kind === 'unix' ? target.path : `${target.host}:${target.port}`;
    const message = `Cannot ask ${name} for ${path}`;
    throw new MeshError('ERR_ADMIN_REQUEST', 'upstream', message, { cause });
  } finally {
    request.destroy();
  }
}
