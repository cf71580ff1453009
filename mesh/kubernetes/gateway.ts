import { tryParseIpAddress } from '../../base/address.ts';
import type { ObjectBase } from './object.ts';
import { hostname } from './gateway-values.ts';
import type { Report } from './problem.ts';
import { GATEWAY_GROUP } from './route-references.ts';
import {
  anything,
  dictionary,
  fields,
  list,
  oneOf,
  optional,
  port,
  required,
  text,
  withDefault,
  type Decoded,
} from './schema.ts';
import { labelSelectorSchema } from './selector.ts';

const address = fields({ type: withDefault(text(), 'IPAddress'), value: text() });

/** Of a Secret, or of what holds certificates of authorities; what kinds these are is judged in status. */
const reference = fields({
  group: text(),
  kind: withDefault(text(), 'Secret'),
  name: required(text()),
  namespace: text(),
});

const listenerTls = fields(
  {
    mode: withDefault(oneOf(['Terminate', 'Passthrough'], 'Terminate'), 'Terminate'),
    certificateRefs: list(reference),
    options: dictionary(text()),
  },
  'warning',
);

const clientValidation = fields(
  {
    validation: optional(
      fields({
        caCertificateRefs: list(reference),
        mode: withDefault(
          oneOf(['AllowValidOnly', 'AllowInsecureFallback'], 'AllowValidOnly'),
          'AllowValidOnly',
        ),
      }),
    ),
  },
  'warning',
);

const gatewayTls = fields(
  {
    backend: optional(fields({ clientCertificateRef: optional(reference) }, 'warning')),
    frontend: optional(
      fields({
        default: clientValidation,
        perPort: list(fields({ port: required(port()), tls: clientValidation })),
      }),
    ),
  },
  'warning',
);

const listener = fields(
  {
    name: required(text()),
    hostname: hostname(),
    port: required(port()),
    protocol: required(text()),
    tls: optional(listenerTls),
    allowedRoutes: fields(
      {
        namespaces: fields({
          from: withDefault(oneOf(['All', 'Selector', 'Same', 'None'], 'Same'), 'Same'),
          selector: optional(labelSelectorSchema),
        }),
        kinds: list(fields({ group: withDefault(text(), GATEWAY_GROUP), kind: required(text()) })),
      },
      'warning',
    ),
  },
  'warning',
);

export const gatewaySchema = fields(
  {
    spec: required(
      fields(
        {
          gatewayClassName: required(text()),
          listeners: list(listener),
          allowedListeners: fields(
            {
              namespaces: fields({
                from: withDefault(oneOf(['All', 'Selector', 'Same', 'None'], 'None'), 'None'),
                selector: optional(labelSelectorSchema),
              }),
            },
            'warning',
          ),
          addresses: list(address),
          tls: optional(gatewayTls),
          infrastructure: fields(
            {
              labels: dictionary(text()),
              annotations: dictionary(text()),
              parametersRef: anything(),
            },
            'warning',
          ),
        },
        'warning',
        ['defaultScope'],
      ),
    ),
    status: fields(
      {
        addresses: list(address),
        conditions: list(fields({ type: text(), status: text(), reason: text() }, 'ignore')),
      },
      'ignore',
    ),
  },
  'warning',
  ['apiVersion', 'kind', 'metadata'],
);

export const listenerSetSchema = fields(
  {
    spec: required(
      fields(
        {
          parentRef: required(
            fields({
              group: withDefault(text(), GATEWAY_GROUP),
              kind: withDefault(text(), 'Gateway'),
              name: required(text()),
              namespace: optional(text()),
            }),
          ),
          listeners: list(listener),
        },
        'warning',
      ),
    ),
  },
  'ignore',
);

export const gatewayClassSchema = fields(
  {
    spec: required(
      fields({ controllerName: required(text()), description: text() }, 'warning', [
        'parametersRef',
      ]),
    ),
  },
  'ignore',
);

/** gateway.networking.k8s.io/Gateway. */
export type Gateway = ObjectBase & Readonly<{ kind: 'Gateway' }> & Decoded<typeof gatewaySchema>;
/** gateway.networking.k8s.io/ListenerSet. */
export type ListenerSet = ObjectBase &
  Readonly<{ kind: 'ListenerSet' }> &
  Decoded<typeof listenerSetSchema>;
export type GatewayClass = ObjectBase &
  Readonly<{ kind: 'GatewayClass' }> &
  Decoded<typeof gatewayClassSchema>;

/** A wrong shape of a Gateway shows in its status upstream, never at admission: these are the rules of its CRD alone. */
export function validateGateway(gateway: Decoded<typeof gatewaySchema>, report: Report): void {
  const { listeners } = gateway.spec;
  if (listeners.length === 0)
    report.error(['spec', 'listeners'], 'must have at least one listener');
  gateway.spec.addresses.forEach(({ type, value }, index) => {
    if (type === 'IPAddress' && value !== '' && tryParseIpAddress(value) === undefined)
      report.error(
        ['spec', 'addresses', index, 'value'],
        `must be an IP address: found ${JSON.stringify(value)}`,
      );
  });
  const names = new Set<string>();
  listeners.forEach((listener, index) => {
    if (names.has(listener.name))
      report.error(['spec', 'listeners', index, 'name'], `is used twice: found ${listener.name}`);
    names.add(listener.name);
    const { from, selector } = listener.allowedRoutes.namespaces;
    if (from === 'Selector' && selector === undefined)
      report.error(
        ['spec', 'listeners', index, 'allowedRoutes', 'namespaces', 'selector'],
        'is required with from: Selector',
      );
  });
}
