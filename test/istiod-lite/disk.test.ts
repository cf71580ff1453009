import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test from 'ava';
import { makeTokenIssuer } from '../support/tokens.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

const MAIN = new URL('../../istiod-lite/main.ts', import.meta.url).pathname;
/** $1: the folder of state. In mounts of our own, which end with the process. */
const MOUNTS = {
  usual: ':',
  'read-only': 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"',
  full: `mkdir "$1.full" && mount -t tmpfs -o size=1m tmpfs "$1.full" && cp -a "$1/." "$1.full/" &&
    { cat /dev/zero >"$1.full/zeros" 2>/dev/null; mount --bind "$1.full" "$1"; }`,
} as const;
const POLICY = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: nobody, namespace: shop }
spec: { action: DENY, rules: [{ from: [{ source: { namespaces: [other] } }] }] }
`;

const tokensYaml = (issuerPort: number): string => `
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: shop }
spec: { jwtRules: [{ issuer: i, jwksUri: "http://127.0.0.1:${issuerPort}/" }] }
`;

type Life = Readonly<{ code: number | null; output: string; objects: number | undefined }>;

/** Runs a control plane until it serves and has said what is waited for, or ends by itself. */
async function live(root: string, disk: keyof typeof MOUNTS, awaited = /^/): Promise<Life> {
  const at = (name: string): string => join(root, name);
  const script = `${MOUNTS[disk]}; shift; exec "$@"`;
  const program = [process.execPath, '--disable-warning=ExperimentalWarning', MAIN];
  const child = spawn('unshare', ['-m', 'sh', '-c', script, 'sh', at('state'), ...program], {
    env: {
      ...{ PATH: process.env['PATH'], CONFIG_DIRS: at('config'), TOKEN_JWKS: at('jwks.json') },
      ...{ CA_DIR: at('state/ca'), STATUS_DIR: at('state/status') },
      ...{ ROOT_CERT_FILE: at('state/root.pem'), LOG_FORMAT: 'json' },
      ...{ JWKS_ALLOWED_HOSTS: '127.0.0.1', GRPC_PORT: '0', HTTP_PORT: '0', READY_PORT: '0' },
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (bytes: Buffer) => {
    output += bytes.toString();
    if (output.includes('"serving"') && awaited.test(output)) child.kill('SIGTERM');
  });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  const objects = /"serving".*"objects":"?(\d+)/.exec(output)?.[1];
  return { code, output, objects: objects === undefined ? undefined : Number(objects) };
}

for (const [disk, error] of [
  ['read-only', /EROFS/],
  ['full', /full|ENOSPC|disk I\/O error/],
] as const) {
  test(`R6: on a ${disk} disk a control plane that ran before starts, says so, and has its last good versions`, async (t) => {
    using folder = new TemporaryFolder();
    const at = (name: string): string => join(folder.path, name);
    await makeTokenIssuer().writeKeySet(at('jwks.json'));
    for (const name of ['config', 'state']) mkdirSync(at(name));
    writeFileSync(at('config/policy.yaml'), POLICY);
    const issuer = createServer((_, response) => response.end('{"keys":[{"kty":"EC"}]}'));
    t.teardown(() => issuer.close());
    await once(issuer.listen(0, '127.0.0.1'), 'listening');
    writeFileSync(at('config/tokens.yaml'), tokensYaml((issuer.address() as AddressInfo).port));
    const before = await live(folder.path, 'usual');
    t.is(before.code, 0, before.output);
    writeFileSync(at('config/policy.yaml'), 'kind: [');
    const after = await live(folder.path, disk, /Cannot keep the keys of uri/);
    t.is(after.code, 0, after.output);
    t.is(after.objects, before.objects, after.output);
    t.regex(after.output, /Cannot write [^"]*last-good\.db: [^"]*lost with the next restart/);
    t.regex(after.output, error);
  });

  test(`R6: on a ${disk} disk a control plane without a root says why it does not start`, async (t) => {
    using folder = new TemporaryFolder();
    await makeTokenIssuer().writeKeySet(join(folder.path, 'jwks.json'));
    for (const name of ['config', 'state']) mkdirSync(join(folder.path, name));
    const { code, output } = await live(folder.path, disk);
    t.is(code, 1, output);
    t.regex(output, /"cannot start".*Cannot open the self-made root of [^"]*state\/ca: /);
  });
}
