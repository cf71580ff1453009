import { readdirSync, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { TlsContext } from '../../../net/tls-context.ts';
import type { CertificateFiles } from '../../peers/envoy.ts';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;
/** What Istio's sidecars agree on between them: HTTP/1.1 goes on as it came. */
const ALPN = ['istio-http/1.1', 'http/1.1'] as const;

/** @throws {Error} when it is not there, or no JSON. */
export function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, 'utf8')) as unknown;
}

/** The pod's identity and whom it trusts, for both directions. @throws {MeshError} ERR_CERTIFICATE. */
export function readContext({ chain, key, roots }: CertificateFiles): TlsContext {
  return new TlsContext({
    chainPem: readFileSync(chain, 'utf8').match(CERTIFICATE) ?? [],
    privateKeyPem: readFileSync(key, 'utf8'),
    rootsPem: [readFileSync(roots, 'utf8')],
    alpn: ALPN,
  });
}

/**
 * Tells of every file of a folder that there is, before it returns, and then of each that takes another's place.
 *
 * @param onFile by its name; what it throws of a file that is there already is thrown here.
 */
export function followFolder(
  folder: string,
  onFile: (name: string, content: unknown) => void,
  onError: (error: unknown) => void,
): Disposable {
  using stack = new DisposableStack();
  const watcher = watch(folder, (_event, name) => {
    if (name === null) return;
    try {
      onFile(name, readJson(join(folder, name)));
    } catch (error) {
      onError(error);
    }
  });
  stack.defer(() => {
    watcher.close();
  });
  watcher.on('error', onError);
  for (const name of readdirSync(folder)) onFile(name, readJson(join(folder, name)));
  return stack.move();
}
