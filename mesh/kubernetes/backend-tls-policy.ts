import {
  boundedList,
  boundedText,
  checked,
  group,
  kind,
  objectName,
  preciseHostname,
  sectionName,
} from './gateway-values.ts';
import type { ObjectBase } from './object.ts';
import { dictionary, fields, oneOf, optional, required, text, type Decoded } from './schema.ts';

const target = fields({
  group: required(group()),
  kind: required(kind()),
  name: required(objectName()),
  sectionName: optional(sectionName()),
});

const subjectAltName = checked(
  fields({
    type: required(oneOf(['Hostname', 'URI'], 'Hostname')),
    hostname: optional(boundedText(1, 253)),
    uri: optional(boundedText(1, 253)),
  }),
  ({ type, hostname, uri }, path, report) => {
    const isHostname = type === 'Hostname';
    if ((hostname !== undefined) !== isHostname || (uri !== undefined) === isHostname)
      report.error(path, `must have ${isHostname ? 'hostname' : 'uri'} alone with type ${type}`);
  },
);

const validation = checked(
  fields({
    caCertificateRefs: boundedList(
      fields({ group: required(group()), kind: required(kind()), name: required(objectName()) }),
      8,
    ),
    wellKnownCACertificates: optional(text()),
    hostname: required(preciseHostname()),
    subjectAltNames: boundedList(subjectAltName, 5),
  }),
  ({ caCertificateRefs, wellKnownCACertificates }, path, report) => {
    if (caCertificateRefs.length > 0 === (wellKnownCACertificates !== undefined))
      report.error(path, 'must have either caCertificateRefs or wellKnownCACertificates');
  },
);

export const backendTlsPolicySchema = fields(
  {
    spec: required(
      fields({
        targetRefs: required(boundedList(target, 16, { minimum: 1 })),
        validation: required(validation),
        options: dictionary(text()),
      }),
    ),
  },
  'error',
  ['apiVersion', 'kind', 'metadata', 'status'],
);

/** gateway.networking.k8s.io/BackendTLSPolicy. */
export type BackendTlsPolicy = ObjectBase &
  Readonly<{ kind: 'BackendTLSPolicy' }> &
  Decoded<typeof backendTlsPolicySchema>;
export type BackendTlsTarget = BackendTlsPolicy['spec']['targetRefs'][number];
