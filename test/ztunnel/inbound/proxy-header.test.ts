import test from 'ava';
import { ipToBytes, parseIpAddress, socketAddress } from '../../../base/address.ts';
import type { SpiffeId } from '../../../mesh/model/identity.ts';
import { HEADROOM } from '../../../net/byte-stream.ts';
import { makeProxyHeader } from '../../../ztunnel/inbound/proxy-header.ts';

const IDENTITY = 'spiffe://cluster.local/ns/shop/sa/client' as SpiffeId;

const headers = test.macro({
  exec(t, source: string, destination: string, family: number, addressBytes: number) {
    const header = { destination: socketAddress(destination, 80), sourceIdentity: IDENTITY };
    const { bytes, length } = makeProxyHeader(socketAddress(source, 40_000), header);
    const found = bytes.buffer.subarray(HEADROOM, HEADROOM + length);
    t.is(found.subarray(0, 12).toString('hex'), '0d0a0d0a000d0a515549540a');
    t.is(found.readUInt8(12), 0x21);
    t.is(found.readUInt8(13), family);
    t.is(found.readUInt16BE(14), length - 16);
    const mapped = (ip: string): Buffer => {
      const own = Buffer.from(ipToBytes(parseIpAddress(ip)));
      if (own.length === addressBytes) return own;
      return Buffer.concat([Buffer.from('00000000000000000000ffff', 'hex'), own]);
    };
    t.deepEqual(found.subarray(16, 16 + addressBytes), mapped(source));
    t.deepEqual(found.subarray(16 + addressBytes, 16 + 2 * addressBytes), mapped(destination));
    const ports = 16 + 2 * addressBytes;
    t.is(found.readUInt16BE(ports), 40_000);
    t.is(found.readUInt16BE(ports + 2), 80);
    t.is(found.readUInt8(ports + 4), 0xd0);
    t.is(found.readUInt16BE(ports + 5), IDENTITY.length);
    t.is(found.subarray(ports + 7).toString(), IDENTITY);
  },
  title: (given = '') => `makeProxyHeader() ${given}`,
});

test('of IPv4', headers, '10.0.0.1', '10.0.0.2', 0x11, 4);
test('of IPv6', headers, 'fd00::1', 'fd00::2', 0x21, 16);
test('of both maps the IPv4 address', headers, '10.0.0.1', 'fd00::2', 0x21, 16);
