import { isIP } from 'node:net';
import { parseCidr, tryParseIpAddress } from '../../base/address.ts';
import type { ObjectBase } from './object.ts';
import type { FieldPath, Report } from './problem.ts';
import {
  dictionary,
  fields,
  integer,
  list,
  oneOf,
  optional,
  port,
  required,
  text,
  withDefault,
  type Decoded,
} from './schema.ts';
import { validateLabels } from './selector.ts';

const endpoint = {
  address: text(),
  ports: dictionary(port()),
  labels: dictionary(text()),
  network: text(),
  /** `region/zone/subzone`. */
  locality: text(),
  weight: optional(integer(0, 0xffff_ffff)),
  serviceAccount: text(),
};

export const workloadEntrySchema = fields({ spec: required(fields(endpoint)) }, 'error', [
  ...['apiVersion', 'kind', 'metadata', 'status'],
]);

const PROTOCOLS = [
  ...['HTTP', 'HTTPS', 'GRPC', 'GRPC-WEB', 'HTTP2', 'MONGO', 'TCP', 'TLS', 'UDP', 'REDIS'],
  ...['MYSQL', ''],
] as const;

export const serviceEntrySchema = fields(
  {
    spec: required(
      fields({
        hosts: required(list(text())),
        addresses: list(text()),
        ports: list(
          fields({
            number: required(port()),
            protocol: withDefault(oneOf(PROTOCOLS, ''), ''),
            name: required(text()),
            targetPort: integer(0, 65535),
          }),
        ),
        location: withDefault(
          oneOf(['MESH_EXTERNAL', 'MESH_INTERNAL'], 'MESH_EXTERNAL'),
          'MESH_EXTERNAL',
        ),
        resolution: withDefault(
          oneOf(['NONE', 'STATIC', 'DNS', 'DNS_ROUND_ROBIN', 'DYNAMIC_DNS'], 'NONE'),
          'NONE',
        ),
        endpoints: list(fields(endpoint)),
        workloadSelector: optional(fields({ labels: dictionary(text()) })),
        exportTo: list(text()),
        subjectAltNames: list(text()),
      }),
    ),
    status: fields(
      { addresses: list(fields({ host: text(), value: text() }, 'ignore')) },
      'ignore',
    ),
  },
  'error',
  ['apiVersion', 'kind', 'metadata'],
);

export type WorkloadEntry = ObjectBase &
  Readonly<{ kind: 'WorkloadEntry' }> &
  Decoded<typeof workloadEntrySchema>;
export type WorkloadEndpoint = WorkloadEntry['spec'];
export type ServiceEntry = ObjectBase &
  Readonly<{ kind: 'ServiceEntry' }> &
  Decoded<typeof serviceEntrySchema>;

/** RFC 1123 names, as hosts of ServiceEntries have them. */
const HOST =
  /^(?=.{1,253}$)[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?)*$/;

/** A host name, or `*.` before one. */
export function isHost(host: string): boolean {
  return HOST.test(host.startsWith('*.') ? host.slice(2) : host) && isIP(host) === 0;
}

function isCidr(value: string): boolean {
  try {
    parseCidr(value);
    return true;
  } catch {
    return false;
  }
}

export function validateWorkloadEntry(
  entry: Decoded<typeof workloadEntrySchema>,
  report: Report,
): void {
  if (entry.spec.address === '' && entry.spec.network === '')
    report.error(['spec', 'address'], 'is required where no network is named');
  validateEndpoint(entry.spec, ['spec'], report);
}

function validateEndpoint(endpoint: WorkloadEndpoint, at: FieldPath, report: Report): void {
  const { address } = endpoint;
  if (address !== '' && isIP(address) === 0 && !isHost(address))
    report.error(
      [...at, 'address'],
      `is neither an IP address nor a host name: found ${JSON.stringify(address.slice(0, 80))}`,
    );
  if (isIP(address) !== 0 && tryParseIpAddress(address) === undefined)
    report.error([...at, 'address'], 'must have no IPv6 zone');
  validateLabels(endpoint.labels, [...at, 'labels'], report);
}

/** What Istio's admission refuses in a ServiceEntry. */
export function validateServiceEntry(
  entry: Decoded<typeof serviceEntrySchema>,
  report: Report,
): void {
  const { spec } = entry;
  if (spec.hosts.length === 0) report.error(['spec', 'hosts'], 'must name at least one host');
  spec.hosts.forEach((host, index) => {
    if (host === '*')
      report.error(
        ['spec', 'hosts', index],
        'must not be "*"',
        'name a domain, as in "*.example.com"',
      );
    else if (!isHost(host))
      report.error(
        ['spec', 'hosts', index],
        `is no host name: found ${JSON.stringify(host.slice(0, 80))}`,
      );
  });
  if (spec.workloadSelector !== undefined) {
    if (spec.endpoints.length > 0)
      report.error(['spec', 'workloadSelector'], 'must not stand beside endpoints');
    validateLabels(spec.workloadSelector.labels, ['spec', 'workloadSelector', 'labels'], report);
  }
  spec.addresses.forEach((address, index) => {
    if (!isCidr(address))
      report.error(
        ['spec', 'addresses', index],
        `is neither an IP address nor a CIDR: found ${JSON.stringify(address.slice(0, 80))}`,
      );
    else if (address.includes('/') && spec.resolution !== 'NONE' && spec.resolution !== 'STATIC')
      report.error(
        ['spec', 'addresses', index],
        `a CIDR needs resolution NONE or STATIC: found ${spec.resolution}`,
      );
  });
  validatePorts(spec.ports, report);
  validateEndpoints(spec, report);
}

function validatePorts(ports: ServiceEntry['spec']['ports'], report: Report): void {
  const seen = new Set<string>();
  ports.forEach((each, index) => {
    for (const [field, value] of [
      ['number', String(each.number)],
      ['name', each.name],
    ] as const) {
      if (seen.has(`${field} ${value}`))
        report.error(['spec', 'ports', index, field], `is used twice: found ${value}`);
      seen.add(`${field} ${value}`);
    }
  });
}

function validateEndpoints(spec: ServiceEntry['spec'], report: Report): void {
  spec.endpoints.forEach((each, index) => {
    const path = ['spec', 'endpoints', index];
    if (each.address === '' && each.network === '')
      report.error([...path, 'address'], 'is required where no network is named');
    if (spec.resolution === 'STATIC' && each.address !== '' && isIP(each.address) === 0)
      report.error(
        [...path, 'address'],
        'must be an IP address with resolution STATIC',
        'use resolution DNS for host names',
      );
    for (const name of each.ports.keys())
      if (!spec.ports.some((known) => known.name === name))
        report.error([...path, 'ports', name], 'is no port of this ServiceEntry');
    validateEndpoint(each, path, report);
  });
  if (spec.resolution === 'NONE' && spec.endpoints.length > 0)
    report.error(['spec', 'endpoints'], 'must be empty with resolution NONE');
  if (spec.resolution !== 'DYNAMIC_DNS') {
    if (spec.resolution !== 'NONE' && spec.resolution !== 'STATIC' && spec.endpoints.length === 0)
      spec.hosts.forEach((host, index) => {
        if (host.startsWith('*'))
          report.error(
            ['spec', 'hosts', index],
            `a wildcard host without endpoints cannot be resolved with ${spec.resolution}`,
          );
      });
    return;
  }
  if (spec.location !== 'MESH_EXTERNAL')
    report.error(['spec', 'location'], 'must be MESH_EXTERNAL with resolution DYNAMIC_DNS');
  if (spec.addresses.length > 0)
    report.error(['spec', 'addresses'], 'must be empty with resolution DYNAMIC_DNS');
  if (spec.endpoints.length > 0)
    report.error(['spec', 'endpoints'], 'must be empty with resolution DYNAMIC_DNS');
  spec.hosts.forEach((host, index) => {
    if (!host.startsWith('*.'))
      report.error(['spec', 'hosts', index], 'must be a wildcard with resolution DYNAMIC_DNS');
  });
  spec.ports.forEach((each, index) => {
    if (!['HTTP', 'TLS', 'HTTPS', 'GRPC', 'HTTP2'].includes(each.protocol))
      report.error(
        ['spec', 'ports', index, 'protocol'],
        'must be HTTP, HTTP2, GRPC or TLS with resolution DYNAMIC_DNS',
      );
  });
}
