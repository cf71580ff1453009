import test from 'ava';
import fc from 'fast-check';
import { socketAddress } from '../../../base/address.ts';
import { formatAuthority, parseAuthority, type Authority } from '../../../mesh/hbone/authority.ts';

const address = (ip: string, port: number): Authority => ({
  kind: 'address',
  address: socketAddress(ip, port),
});
const hostname = (name: string, port: number): Authority => ({
  kind: 'hostname',
  hostname: name,
  port,
});

const accepted: readonly (readonly [string, Authority])[] = [
  ['10.0.0.1:80', address('10.0.0.1', 80)],
  ['[fd00::1]:65535', address('fd00::1', 65535)],
  ['[FD00:0::1]:1', address('fd00::1', 1)],
  ['[::ffff:10.0.0.1]:80', address('10.0.0.1', 80)],
  ['web.shop.svc.cluster.local:80', hostname('web.shop.svc.cluster.local', 80)],
  ['WEB.Shop:8080', hostname('web.shop', 8080)],
  ['localhost:80', hostname('localhost', 80)],
  ['1password.com:443', hostname('1password.com', 443)],
  ['xn--bcher-kva.example:443', hostname('xn--bcher-kva.example', 443)],
  [`${'a'.repeat(63)}.b:1`, hostname(`${'a'.repeat(63)}.b`, 1)],
];
for (const [text, expected] of accepted) {
  test(`parseAuthority() reads ${text}`, (t) => {
    t.deepEqual(parseAuthority(text), expected);
  });
}

const refused = [
  '',
  ':',
  ':80',
  '10.0.0.1',
  '10.0.0.1:',
  '10.0.0.1:0',
  '10.0.0.1:00080',
  '10.0.0.1:65536',
  '10.0.0.1:99999',
  '10.0.0.1:+80',
  '10.0.0.1:-1',
  '10.0.0.1:80 ',
  ' 10.0.0.1:80',
  '10.0.0.1:80\r\n',
  '10.0.0.1:80/',
  '10.0.0.1:80?x',
  '10.0.0.1:80#x',
  '10.0.0.1:80,10.0.0.2:80',
  '010.0.0.1:80',
  '10.0.0.256:80',
  '10.1:80',
  '167772161:80',
  '0x7f.1:80',
  '127.0.0.0x1:80',
  'a.0x:80',
  'a.1:80',
  'user@10.0.0.1:80',
  'user:pw@10.0.0.1:80',
  'user@web:80',
  '[fe80::1%eth0]:80',
  '[fe80::1%25eth0]:80',
  'fd00::1:80',
  '[fd00::1]',
  '[fd00::1]:',
  '[10.0.0.1]:80',
  '[web]:80',
  '[]:80',
  'web',
  'web:',
  'web:0',
  'web:65536',
  'web:080',
  'web.:80',
  '.web:80',
  'web..shop:80',
  '-web:80',
  'web-:80',
  'we_b:80',
  '*.shop:80',
  'web%2e:80',
  'wéb:80',
  'ｗeb:80',
  'web。shop:80',
  '１0.0.0.1:80',
  'web:８０',
  'we\0b:80',
  'https://web:80',
  `${'a'.repeat(64)}:80`,
  `${'a.'.repeat(127)}a:80`,
  'a'.repeat(100_000),
];
for (const text of refused) {
  test(`parseAuthority() refuses ${JSON.stringify(text.slice(0, 40))} of ${text.length}`, (t) => {
    t.throws(() => parseAuthority(text), { code: 'ERR_AUTHORITY' });
  });
}

test('parseAuthority() and formatAuthority() are inverse, and every text parses or throws ERR_AUTHORITY', (t) => {
  const port = fc.integer({ min: 1, max: 65535 });
  const label = fc.stringMatching(/^[a-z]([a-z0-9-]{0,10}[a-z0-9])?$/);
  const any = fc.oneof(
    fc.tuple(fc.oneof(fc.ipV4(), fc.ipV6()), port).map(([ip, number]) => address(ip, number)),
    fc
      .tuple(fc.array(label, { minLength: 1, maxLength: 4 }), port)
      .map(([labels, number]) => hostname(labels.join('.'), number)),
  );
  fc.assert(
    fc.property(any, (authority) => {
      t.deepEqual(parseAuthority(formatAuthority(authority)), authority);
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      try {
        const parsed = parseAuthority(text);
        return parseAuthority(formatAuthority(parsed)).kind === parsed.kind;
      } catch (error) {
        return error instanceof Error && 'code' in error && error.code === 'ERR_AUTHORITY';
      }
    }),
  );
});
