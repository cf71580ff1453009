import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { ChangeJoiner } from '../../istiod-lite/joiner.ts';
import { JwksCache } from '../../istiod-lite/jwks-cache.ts';
import { fetchJwks } from '../../istiod-lite/jwks-source.ts';
import { Snapshot } from '../../istiod-lite/snapshot.ts';
import { FileSet } from '../../istiod-lite/sources/file-set.ts';
import type { KeySource } from '../../istiod-lite/translate/request-authentication.ts';

const LOCAL = { allowedHosts: new Set(['127.0.0.1', 'localhost']) };
const KEYS = '{"keys":[{"kty":"EC","kid":"a"}]}';

/** A server of a real issuer; gone with the test. @returns its address. */
async function startIssuer(t: ExecutionContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('keys are fetched, and only public ones are taken', async (t) => {
  const base = await startIssuer(t, (_, response) => {
    response.end('{"keys":[{"kty":"EC","kid":"a"},{"kty":"oct","k":"AA"},7,null]}');
  });
  t.is(await fetchJwks({ kind: 'uri', uri: `${base}/keys` }, LOCAL), KEYS);
});

test('an issuer is asked where its keys are', async (t) => {
  const paths: string[] = [];
  const base = await startIssuer(t, ({ url = '' }, response) => {
    paths.push(url);
    response.end(url === '/a/keys' ? KEYS : `{"jwks_uri":"${base}/a/keys"}`);
  });
  t.is(await fetchJwks({ kind: 'issuer', issuer: `${base}/a/` }, LOCAL), KEYS);
  t.deepEqual(paths, ['/a/.well-known/openid-configuration', '/a/keys']);
});

test('no address of this host, its networks or a metadata service is asked (J4)', async (t) => {
  let asked = 0;
  const base = await startIssuer(t, (_, response) => {
    asked++;
    response.end(KEYS);
  });
  const { port } = new URL(base);
  const none = { allowedHosts: new Set<string>() };
  for (const host of [
    ...[
      '127.0.0.1',
      'localhost',
      '169.254.169.254',
      '10.0.0.1',
      '192.168.1.1',
      '172.16.0.1',
      '0.0.0.0',
    ],
    ...[
      '[::1]',
      '[::ffff:127.0.0.1]',
      '[fd00::1]',
      '[fe80::1]',
      '[64:ff9b::7f00:1]',
      '2130706433',
      '0x7f.1',
    ],
  ]) {
    const error = await t.throwsAsync(
      fetchJwks({ kind: 'uri', uri: `http://${host}:${port}/` }, none),
      { code: 'ERR_JWKS' },
    );
    t.regex(`${String(error)} ${String(error.cause)}`, /not public/, host);
  }
  for (const uri of ['file:///etc/passwd', 'ftp://example.com/', 'nonsense'])
    await t.throwsAsync(fetchJwks({ kind: 'uri', uri }, none), { code: 'ERR_JWKS' });
  t.is(asked, 0);
});

test('an issuer cannot send the control plane to where policy could not (J4)', async (t) => {
  let asked = 0;
  const inner = await startIssuer(t, (_, response) => {
    asked++;
    response.end(KEYS);
  });
  const { port } = new URL(inner);
  const moved = await startIssuer(t, (_, response) => {
    response.writeHead(302, { location: inner }).end();
  });
  await t.throwsAsync(fetchJwks({ kind: 'uri', uri: moved }, LOCAL), { code: 'ERR_JWKS' });
  const named = await startIssuer(t, (_, response) => {
    response.end(`{"jwks_uri":"http://[::1]:${port}/"}`);
  });
  await t.throwsAsync(fetchJwks({ kind: 'issuer', issuer: named }, LOCAL), { code: 'ERR_JWKS' });
  t.is(asked, 0);
});

test('an answer that is too long, too late or none is refused', async (t) => {
  const endless = await startIssuer(t, (_, response) => {
    response.write(`{"keys":[${' '.repeat(300 * 1024)}`);
  });
  const silent = await startIssuer(t, () => undefined);
  const broken = await startIssuer(t, (_, response) => {
    response.end('{"keys":7}');
  });
  const error = await startIssuer(t, (_, response) => {
    response.writeHead(500).end(KEYS);
  });
  for (const uri of [endless, silent, broken, error])
    await t.throwsAsync(fetchJwks({ kind: 'uri', uri }, { ...LOCAL, timeoutMs: 200 }), {
      code: 'ERR_JWKS',
    });
});

const source: KeySource = { kind: 'uri', uri: 'https://issuer/keys' };

/** A cache whose attempts and clock a test decides. */
function handCache(): Readonly<{
  cache: JwksCache;
  changes: () => number;
  delays: number[];
  attempt: (outcome: string | Error, afterMs?: number) => Promise<void>;
}> {
  let nowMs = 0;
  let changes = 0;
  let due: (() => void) | undefined;
  let settle: PromiseWithResolvers<string> | undefined;
  const delays: number[] = [];
  const cache = new JwksCache({
    fetch: () => {
      settle = Promise.withResolvers<string>();
      return settle.promise;
    },
    onChange: () => changes++,
    onProblem: () => undefined,
    now: () => nowMs,
    schedule: (call, delayMs) => {
      delays.push(delayMs);
      due = call;
      return () => {
        due = undefined;
      };
    },
  });
  const attempt = async (outcome: string | Error, afterMs = 0): Promise<void> => {
    nowMs += afterMs;
    const call = due;
    due = undefined;
    call?.();
    if (typeof outcome === 'string') settle?.resolve(outcome);
    else settle?.reject(outcome);
    await new Promise(setImmediate);
  };
  return { cache, changes: () => changes, delays, attempt };
}

test('keys are asked for again in time, and follow a rotation', async (t) => {
  const { cache, changes, delays, attempt } = handCache();
  t.is(cache.get(source), undefined);
  await attempt(KEYS);
  t.is(cache.get(source), KEYS);
  await attempt(KEYS);
  t.is(changes(), 1);
  await attempt('{"keys":[{"kty":"EC","kid":"b"}]}');
  t.is(cache.get(source), '{"keys":[{"kty":"EC","kid":"b"}]}');
  t.is(changes(), 2);
  t.deepEqual(delays, [1_200_000, 1_200_000, 1_200_000]);
});

test('while an issuer is away the last good keys stay, for seven days (J3)', async (t) => {
  const { cache, changes, delays, attempt } = handCache();
  cache.get(source);
  await attempt(new Error('away'));
  t.is(cache.get(source), undefined);
  await attempt(KEYS);
  for (let round = 0; round < 8; round++) await attempt(new Error('away'), 60_000);
  t.is(cache.get(source), KEYS);
  t.deepEqual(delays, [
    ...[60_000, 1_200_000, 60_000, 120_000, 240_000, 480_000, 960_000, 1_920_000],
    ...[3_600_000, 3_600_000],
  ]);
  await attempt(new Error('away'), 7 * 86_400_000);
  t.is(cache.get(source), undefined);
  t.is(changes(), 2);
});

test('a source that nothing asks for is asked no more', async (t) => {
  const { cache, changes, delays, attempt } = handCache();
  cache.get(source);
  cache.retain([]);
  await attempt(KEYS);
  t.is(changes(), 0);
  t.deepEqual(delays, []);
  cache.get(source);
  await attempt(KEYS);
  cache.retain([source]);
  t.is(cache.get(source), KEYS);
});

test('keys that were fetched are joined with other changes, and none is lost', async (t) => {
  const seen: (readonly string[])[] = [];
  const joiner = new ChangeJoiner(({ keys = [] }) => {
    seen.push(keys.map((one) => one.keys ?? 'none'));
  });
  t.teardown(() => {
    joiner[Symbol.dispose]();
  });
  const add = (keys: string | undefined): void => {
    joiner.add({ upserts: [], removals: [], keys: [{ source, keys }] });
  };
  add('1');
  add('2');
  add(undefined);
  await joiner.flush();
  t.deepEqual(seen, [['1'], ['2', 'none']]);
});

test('what the policies of the picture need is fetched, and a change of keys is one of the picture', async (t) => {
  const { cache, attempt } = handCache();
  const set = new FileSet();
  const snapshot = new Snapshot();
  const apply = (rules: string): void => {
    set.setFile(
      'a.yaml',
      `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: shop }
spec: { jwtRules: [${rules}] }
`,
    );
    snapshot.apply(set.takeChanges());
    cache.follow(snapshot);
  };
  apply('{ issuer: i, jwksUri: https://issuer/keys }');
  await attempt(KEYS);
  t.is(cache.get(source), KEYS);
  const fetched = { upserts: [], removals: [], keys: [{ source, keys: KEYS }] };
  const change = snapshot.apply(fetched);
  t.is(snapshot.keysOf(source), KEYS);
  t.deepEqual([...(change?.facts ?? [])], ['keys|uri|https://issuer/keys']);
  t.is(snapshot.apply(fetched), undefined);
  apply('{ issuer: i, jwks: "{\\"keys\\":[]}" }');
  t.is(cache.get(source), undefined);
});
