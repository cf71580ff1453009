import test from 'ava';
import { formatCidr } from '../../../base/address.ts';
import { decodeCidr } from '../../../mesh/xds/codec-fields.ts';

const PLAIN = Uint8Array.of(10, 1, 2, 3);
const MAPPED = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3);

test('decodeCidr() counts the prefix of a mapped network from its IPv4 part', (t) => {
  t.is(formatCidr(decodeCidr(PLAIN, 16, 'ipBlock')), '10.1.0.0/16');
  t.is(formatCidr(decodeCidr(MAPPED, 112, 'ipBlock')), '10.1.0.0/16');
});

test('decodeCidr() refuses a prefix that the bytes do not have, and bytes that are no address', (t) => {
  const code = 'ERR_XDS_RESOURCE';
  t.throws(() => decodeCidr(MAPPED, 16, 'ipBlock'), { code, message: /prefix length 16/ });
  t.throws(() => decodeCidr(PLAIN, 33, 'ipBlock'), { code, message: /prefix length 33/ });
  t.throws(() => decodeCidr(Uint8Array.of(10, 1), 8, 'ipBlock'), { code, message: /bad address/ });
});
