import test from 'ava';
import { serverHelloCipher } from '../../../bench/ambient/check-security.ts';

/** A record with a ServerHello, as far as the cipher suite. */
function serverHello(suite: number, sessionIdBytes: number): Uint8Array {
  const random = new Uint8Array(32);
  const hello = [2, 0, 0, 90, 3, 3, ...random, sessionIdBytes, ...new Uint8Array(sessionIdBytes)];
  return Uint8Array.of(0x16, 3, 3, 0, 94, ...hello, suite >> 8, suite & 255, 0);
}

test('the cipher suite stands behind a session id of any length', (t) => {
  t.is(serverHelloCipher(serverHello(0x1301, 32)), 'TLS_AES_128_GCM_SHA256');
  t.is(serverHelloCipher(serverHello(0x1302, 0)), 'TLS_AES_256_GCM_SHA384');
  t.is(serverHelloCipher(serverHello(0xc02f, 32)), '0xc02f');
});

test('what is no ServerHello has no cipher suite', (t) => {
  const clientHello = serverHello(0x1301, 32);
  clientHello[5] = 1;
  t.is(serverHelloCipher(clientHello), undefined);
  t.is(serverHelloCipher(new TextEncoder().encode('HTTP/1.1 200 OK\r\n')), undefined);
  t.is(serverHelloCipher(new Uint8Array()), undefined);
});
