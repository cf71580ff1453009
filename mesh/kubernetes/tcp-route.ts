import { boundedList, checked, hostname } from './gateway-values.ts';
import type { ObjectBase } from './object.ts';
import { checkBackendPort, parentRefs, weightedBackendFields } from './route-references.ts';
import { ruleName } from './route-rules.ts';
import { fields, oneOf, optional, required, type Decoded } from './schema.ts';

// Routes of bytes: a TCPRoute by the port alone, a TLSRoute by the name that the client asks for in its handshake; a
// UDPRoute is a TCPRoute for datagrams.

const rule = fields({
  name: ruleName,
  backendRefs: required(
    boundedList(checked(fields(weightedBackendFields), checkBackendPort), 16, { minimum: 1 }),
  ),
});

const common = {
  parentRefs,
  /** Exactly one. */
  rules: required(boundedList(rule, 1, { minimum: 1 })),
  useDefaultGateways: optional(oneOf(['All', 'None'], 'None')),
};

const OBJECT_FIELDS = ['apiVersion', 'kind', 'metadata', 'status'];

export const tcpRouteSchema = fields({ spec: required(fields(common)) }, 'error', OBJECT_FIELDS);

export const tlsRouteSchema = fields(
  {
    spec: required(
      fields({
        ...common,
        hostnames: required(boundedList(hostname(), 1024, { minimum: 1 })),
      }),
    ),
  },
  'error',
  OBJECT_FIELDS,
);

/** gateway.networking.k8s.io/TCPRoute. */
export type TcpRoute = ObjectBase & Readonly<{ kind: 'TCPRoute' }> & Decoded<typeof tcpRouteSchema>;

/** gateway.networking.k8s.io/UDPRoute. */
export type UdpRoute = ObjectBase & Readonly<{ kind: 'UDPRoute' }> & Decoded<typeof tcpRouteSchema>;

/** gateway.networking.k8s.io/TLSRoute. */
export type TlsRoute = ObjectBase & Readonly<{ kind: 'TLSRoute' }> & Decoded<typeof tlsRouteSchema>;
