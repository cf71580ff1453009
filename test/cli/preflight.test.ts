import { chmodSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'ava';
import { runProgram, type Ended } from '../support/run-program.ts';
import { TemporaryFolder } from '../support/temporary-folder.ts';

const preflight = join(import.meta.dirname, '../../cli/preflight');

/** What the script itself calls; none of it is in its table. */
const NEEDED = ['uname', 'id', 'tr', 'grep', 'sed', 'cut', 'sort', 'cat', 'chmod', 'rm', 'dirname'];

/** A machine whose PATH holds only what is put there (and what really is in the sbin folders). */
class Machine extends TemporaryFolder {
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
    return runProgram('/bin/sh', [preflight, ...args], { env: { PATH } });
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
