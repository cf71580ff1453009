import test from 'ava';
import { checkClient, checkServer, type PeerFacts } from '../../../mesh/hbone/peer.ts';
import { LONGEST_LIFETIME_MS } from '../../../mesh/model/certificate.ts';
import { parseSpiffeId, parseTrustDomain } from '../../../mesh/model/identity.ts';

const web = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/web');
const api = parseSpiffeId('spiffe://cluster.local/ns/shop/sa/api');
const foreign = parseSpiffeId('spiffe://other.example/ns/shop/sa/web');
const trusted = new Set([parseTrustDomain('cluster.local'), parseTrustDomain('old.example')]);
const uri = (...uris: readonly string[]): PeerFacts => ({
  uris,
  otherNames: 0,
  namesReadable: true,
  isAuthority: false,
  keyUsage: 0x80,
  extendedKeyUsage: 3,
  lifetimeMs: 86_400_000,
});
/** Without the extension, as it is told. */
const { keyUsage: _usage, ...withoutUsage } = uri(web);
const { extendedKeyUsage: _purposes, ...withoutPurposes } = uri(web);

test('checkServer() accepts an identity that is expected', (t) => {
  t.deepEqual(checkServer(uri(web), [api, web]), { kind: 'accepted', identity: web });
});

test('a certificate may be for 398 days, and its key RSA of 4,096 bits', (t) => {
  const rsa = { bits: 4096, exponent: 65_537n };
  const longest = { ...uri(web), rsa, lifetimeMs: LONGEST_LIFETIME_MS };
  t.is(checkClient(longest, trusted).kind, 'accepted');
  t.is(checkServer(longest, [web]).kind, 'accepted');
});

test('checkServer() refuses any other, and all when nobody is expected', (t) => {
  const check = checkServer(uri(foreign), [web, api]);
  t.deepEqual(check, {
    kind: 'refused',
    reason: `found ${foreign}, expected ${web}, ${api}`,
  });
  t.is(checkServer(uri(web), []).kind, 'refused');
});

test('checkClient() accepts the own trust domain and its aliases', (t) => {
  t.is(checkClient(uri(web), trusted).kind, 'accepted');
  t.is(checkClient(uri('spiffe://old.example/ns/shop/sa/web'), trusted).kind, 'accepted');
  const refused = checkClient(uri(foreign), trusted);
  t.deepEqual(refused, { kind: 'refused', reason: `${foreign} is of another trust domain` });
});

const wrong: readonly (readonly [string, PeerFacts])[] = [
  ['no name', uri()],
  ['two URI names', uri(web, api)],
  ['one URI name twice', uri(web, web)],
  ['another name beside the URI', { ...uri(web), otherNames: 1 }],
  ['names that cannot be read', { ...uri(web), namesReadable: false }],
  ['only other names', { ...uri(), otherNames: 2 }],
  ['a URI that is no SPIFFE id', uri('https://cluster.local/ns/shop/sa/web')],
  ['a URI with a trailing NUL', uri(`${web}\0`)],
  ['a URI in upper case', uri(web.toUpperCase())],
  ['two URIs in one', uri(`${web}, URI:${api}`)],
  ['the rights of a CA', { ...uri(web), isAuthority: true }],
  ['the right to sign certificates', { ...uri(web), keyUsage: 0x84 }],
  ['the right to sign revocation lists', { ...uri(web), keyUsage: 0x82 }],
  ['no right to sign', { ...uri(web), keyUsage: 0x20 }],
  ['no key usage', withoutUsage],
  ['no purpose', withoutPurposes],
  ['a lifetime of more than 398 days', { ...uri(web), lifetimeMs: LONGEST_LIFETIME_MS + 1000 }],
  ['an RSA key of 8,192 bits', { ...uri(web), rsa: { bits: 8192, exponent: 65_537n } }],
  ['an RSA key with the exponent 1', { ...uri(web), rsa: { bits: 2048, exponent: 1n } }],
  ['a lifetime that cannot be read', { ...uri(web), lifetimeMs: Number.POSITIVE_INFINITY }],
];
for (const [title, names] of wrong) {
  test(`a certificate with ${title} is refused, of a client and of a server`, (t) => {
    t.is(checkClient(names, trusted).kind, 'refused');
    t.is(checkServer(names, [web, api]).kind, 'refused');
  });
}
