import test from 'ava';
import { protocolOf } from '../../../istiod-lite/translate/ports.ts';

test('the protocol of a port is what it declares, else the beginning of its name', (t) => {
  for (const [appProtocol, name, protocol] of [
    ['kubernetes.io/h2c', 'http', 'HTTP2'],
    ['http2', '', 'HTTP2'],
    ['grpc', '', 'GRPC'],
    ['example.org/own', 'http', 'UNKNOWN'],
    ['', 'http2-api', 'HTTP2'],
    ['', 'GRPC', 'GRPC'],
    ['', 'http-web', 'HTTP11'],
    ['', 'grpc-web', 'UNKNOWN'],
    ['', 'grpc-web-api', 'UNKNOWN'],
    ['', 'web', 'UNKNOWN'],
  ] as const)
    t.is(protocolOf(appProtocol, name), protocol, `${appProtocol} ${name}`);
});
