import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { ChangeJoiner } from '../../istiod-lite/joiner.ts';
import { JwksCache } from '../../istiod-lite/jwks-cache.ts';
import { fetchJwks } from '../../istiod-lite/jwks-source.ts';
import { KeySetFiles } from '../../istiod-lite/key-set-files.ts';
import { Snapshot } from '../../istiod-lite/snapshot.ts';
import { FileSet } from '../../istiod-lite/sources/file-set.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

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

const source = { kind: 'uri', uri: 'https://issuer/keys' } as const;

const WEEK_MS = 7 * 86_400_000;

/**
 * A cache whose attempts and clock a test decides.
 *
 * @param folder where an earlier one kept its keys.
 */
function handCache(
  folder?: string,
  startMs = 0,
): Readonly<{
  cache: JwksCache;
  changes: () => number;
  delays: number[];
  problems: string[];
  attempt: (outcome: string | Error, afterMs?: number) => Promise<void>;
}> {
  let nowMs = startMs;
  let changes = 0;
  let due: (() => void) | undefined;
  let settle: PromiseWithResolvers<string> | undefined;
  const delays: number[] = [];
  const problems: string[] = [];
  const cache = new JwksCache({
    fetch: () => {
      settle = Promise.withResolvers<string>();
      return settle.promise;
    },
    onChange: () => changes++,
    onProblem: () => undefined,
    files: new KeySetFiles(folder, (problem) => problems.push(problem)),
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
  return { cache, changes: () => changes, delays, problems, attempt };
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
  await attempt(new Error('away'), WEEK_MS);
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

test('keys that nothing asks for any more leave the picture: who asks again has to fetch them', async (t) => {
  const { cache, changes, attempt } = handCache();
  cache.get(source);
  await attempt(KEYS);
  cache.retain([]);
  t.is(changes(), 2);
  t.is(cache.get(source), undefined);
});

/** Lets a cache fetch keys and keep them. @returns the file that has them. */
async function keepKeys(folder: string, startMs: number, keys = KEYS): Promise<string> {
  const { cache, attempt } = handCache(folder, startMs);
  cache.get(source);
  await attempt(keys);
  cache[Symbol.dispose]();
  const [name = 'none', ...others] = readdirSync(folder);
  if (others.length > 0) throw new Error(`More files than one: ${others.join()}`);
  return join(folder, name);
}

test('after a restart the last good keys are there at once, and go with their seven days (J3)', async (t) => {
  using folder = new TemporaryFolder();
  const file = await keepKeys(folder.path, WEEK_MS);
  const { cache, changes, delays, attempt } = handCache(folder.path, 2 * WEEK_MS - 60_000);
  t.is(cache.get(source), KEYS);
  t.is(changes(), 1);
  await attempt(new Error('away'));
  t.is(cache.get(source), KEYS);
  t.deepEqual(delays, [60_000]);
  await attempt(new Error('away'), 60_000);
  t.is(cache.get(source), undefined);
  t.is(changes(), 2);
  t.throws(() => readFileSync(file), { code: 'ENOENT' });
});

test('kept keys that are older than seven days are not believed after a restart', async (t) => {
  using folder = new TemporaryFolder();
  await keepKeys(folder.path, 0);
  const { cache, changes, problems } = handCache(folder.path, WEEK_MS);
  t.is(cache.get(source), undefined);
  t.is(changes(), 0);
  t.deepEqual([readdirSync(folder.path), problems], [[], []]);
});

test('keys of a clock that was ahead last seven days from the restart that finds them, whatever restarts follow', async (t) => {
  using folder = new TemporaryFolder();
  await keepKeys(folder.path, 1000 * WEEK_MS);
  t.is(handCache(folder.path, WEEK_MS).cache.get(source), KEYS);
  t.is(handCache(folder.path, 2 * WEEK_MS - 1).cache.get(source), KEYS);
  t.is(handCache(folder.path, 2 * WEEK_MS).cache.get(source), undefined);
});

test('keys that were rotated meanwhile are replaced by the first fetch, in the next life, too', async (t) => {
  using folder = new TemporaryFolder();
  await keepKeys(folder.path, 0);
  const rotated = '{"keys":[{"kty":"EC","kid":"b"}]}';
  const { cache, changes, delays, attempt } = handCache(folder.path, 1000);
  t.is(cache.get(source), KEYS);
  await attempt(rotated);
  t.is(cache.get(source), rotated);
  t.deepEqual([changes(), delays], [2, [1_200_000]]);
  t.is(handCache(folder.path, 2000).cache.get(source), rotated);
});

test('a fetch that brings the same keys is no change, and lets them last from then on', async (t) => {
  using folder = new TemporaryFolder();
  await keepKeys(folder.path, 0);
  const { cache, changes, attempt } = handCache(folder.path, 1000);
  cache.get(source);
  await attempt(KEYS, 1000);
  t.is(changes(), 1);
  t.is(handCache(folder.path, WEEK_MS + 1999).cache.get(source), KEYS);
});

for (const [what, breakText] of [
  ['that is cut off', (text: string) => text.slice(0, -3)],
  ['that is empty', () => ''],
  ['of another issuer', (text: string) => text.replace('//issuer/', '//other/')],
  ['without a time', (text: string) => text.replace('"fetchedMs":0', '"fetchedMs":"0"')],
  ['without a public key', (text: string) => text.replace('"EC"', '"oct"')],
  ['that is too long', (text: string) => text + ' '.repeat(1024 * 1024)],
] as const) {
  test(`a file of kept keys ${what} is told and not used, and the next fetch mends it`, async (t) => {
    using folder = new TemporaryFolder();
    const file = await keepKeys(folder.path, 0);
    const broken = breakText(readFileSync(file, 'utf8'));
    writeFileSync(file, broken);
    const { cache, changes, problems, attempt } = handCache(folder.path);
    t.is(cache.get(source), undefined);
    t.is(changes(), 0);
    t.is(problems.length, 1);
    t.true(problems[0]?.startsWith(`Cannot use ${file}, which keeps the keys of uri https://`));
    await attempt(KEYS);
    t.is(handCache(folder.path).cache.get(source), KEYS);
  });
}

test('what is kept of a source goes when nothing asks for it any more, and stays with the end of a life', async (t) => {
  using folder = new TemporaryFolder();
  await keepKeys(folder.path, 0);
  const { cache } = handCache(folder.path);
  cache.get(source);
  cache[Symbol.dispose]();
  cache.forgetOthers();
  t.is(readdirSync(folder.path).length, 1);
  const later = handCache(folder.path).cache;
  later.get(source);
  later.retain([]);
  t.deepEqual(readdirSync(folder.path), []);
});

test('what an earlier life kept of sources that are gone is removed when the picture is whole', async (t) => {
  using folder = new TemporaryFolder();
  const file = await keepKeys(folder.path, 0);
  writeFileSync(`${file}.tmp`, 'half of a');
  const { cache } = handCache(folder.path);
  cache.get({ kind: 'issuer', issuer: source.uri });
  t.is(readdirSync(folder.path).length, 2);
  cache.forgetOthers();
  t.deepEqual(readdirSync(folder.path), []);
});

test('where nothing can be kept the keys are used all the same, and withdrawn ones do not come back', async (t) => {
  using folder = new TemporaryFolder();
  const file = await keepKeys(folder.path, 0);
  mkdirSync(`${file}.tmp`); // in the way of the next writing
  const { cache, problems, attempt } = handCache(folder.path);
  cache.get(source);
  await attempt(KEYS);
  t.is(handCache(folder.path).cache.get(source), KEYS);
  const rotated = '{"keys":[{"kty":"EC","kid":"b"}]}';
  await attempt(rotated);
  t.is(cache.get(source), rotated);
  t.is(problems.length, 2);
  t.regex(
    problems.join(),
    /^Cannot keep the keys of uri https:\/\/issuer\/keys for the next restart: EISDIR/,
  );
  t.is(handCache(folder.path).cache.get(source), undefined);
});
