import { listAt, numberAt, textAt, textsAt, valueAt } from './object-fields.ts';
import type { Cell } from './table.ts';

/** A ztunnel's `/config_dump`, as JSON came; its fields have Istio's names, so that istioctl can read it too. */
export type ConfigDump = Readonly<Record<string, unknown>>;

/** One subject of a dump as a table; `json` is what `-o json` prints of it. */
export type DumpView = Readonly<{
  headings: readonly string[];
  rows(dump: ConfigDump): readonly (readonly Cell[])[];
  json: keyof ConfigDump;
  /** True: each node's proxy has its own, so all of them are shown. */
  perNode: boolean;
}>;

const WORKLOADS: DumpView = {
  headings: ['NAMESPACE', 'POD NAME', 'ADDRESS', 'NODE', 'WAYPOINT', 'PROTOCOL'],
  json: 'workloads',
  perNode: false,
  rows: (dump) =>
    listAt(dump, 'workloads').map((workload) => [
      textAt(workload, 'namespace'),
      textAt(workload, 'name'),
      textsAt(workload, 'workloadIps').join(','),
      textAt(workload, 'node'),
      waypointOf(workload),
      textAt(workload, 'protocol'),
    ]),
};

const DEMANDED: DumpView = {
  headings: ['KEY', 'STATE', 'FOR PODS'],
  json: 'demanded',
  perNode: true,
  rows: (dump) =>
    listAt(dump, 'demanded').map((entry) => [
      textAt(entry, 'key'),
      textAt(entry, 'state'),
      textsAt(entry, 'pods').join(','),
    ]),
};

const SERVICES: DumpView = {
  headings: ['NAMESPACE', 'SERVICE NAME', 'SERVICE VIP', 'WAYPOINT', 'ENDPOINTS'],
  json: 'services',
  perNode: false,
  rows: (dump) => {
    const healthy = new Set(
      listAt(dump, 'workloads')
        .filter((workload) => textAt(workload, 'status') !== 'Unhealthy')
        .map((workload) => textAt(workload, 'uid')),
    );
    return listAt(dump, 'services').map((service) => {
      const endpoints = Object.keys(valueAt(service, 'endpoints') ?? {});
      const usable = endpoints.filter((uid) => healthy.has(uid)).length;
      const text = `${usable}/${endpoints.length}`;
      return [
        textAt(service, 'namespace'),
        textAt(service, 'name'),
        // "network/ip": the network is empty but in meshes that span several.
        textsAt(service, 'vips')
          .map((vip) => vip.replace(/^\//, ''))
          .join(','),
        waypointOf(service),
        usable === endpoints.length ? text : { text, style: 'warning' },
      ];
    });
  },
};

const POLICIES: DumpView = {
  headings: ['NAMESPACE', 'POLICY NAME', 'ACTION', 'SCOPE'],
  json: 'policies',
  perNode: false,
  rows: (dump) =>
    listAt(dump, 'policies').map((policy) =>
      ['namespace', 'name', 'action', 'scope'].map((field) => textAt(policy, field)),
    ),
};

const CERTIFICATES: DumpView = {
  headings: [
    'CERTIFICATE NAME',
    'TYPE',
    'STATUS',
    'VALID CERT',
    'SERIAL NUMBER',
    'NOT AFTER',
    'NOT BEFORE',
  ],
  json: 'certificates',
  perNode: true,
  rows: (dump) =>
    listAt(dump, 'certificates').flatMap((entry) => {
      const name = textAt(entry, 'identity');
      const state = textAt(entry, 'state');
      const chain = listAt(entry, 'certChain');
      const roots = listAt(entry, 'rootCerts');
      if (chain.length === 0)
        return [[name, 'Leaf', stateCell(state), { text: 'false', style: 'bad' }]];
      return [
        ...chain.map((certificate, index) =>
          certificateRow(name, index === 0 ? 'Leaf' : 'Intermediate', state, certificate),
        ),
        ...roots.map((certificate) => certificateRow(name, 'Root', state, certificate)),
      ];
    }),
};

const CONNECTIONS: DumpView = {
  headings: ['WORKLOAD', 'DIRECTION', 'LOCAL', 'REMOTE', 'REMOTE TARGET', 'PROTOCOL'],
  json: 'workloadState',
  perNode: true,
  rows: (dump) =>
    Object.values(valueAt(dump, 'workloadState') ?? {}).flatMap((state) => {
      const name = `${textAt(state, 'info', 'name')}.${textAt(state, 'info', 'namespace')}`;
      const rows = (direction: 'inbound' | 'outbound', local: string, remote: string): Cell[][] =>
        listAt(state, 'connections', direction).map((connection) => [
          name,
          direction === 'inbound' ? 'Inbound' : 'Outbound',
          textAt(connection, local),
          textAt(connection, remote),
          textAt(connection, 'originalDst'),
          textAt(connection, 'protocol'),
        ]);
      return [...rows('inbound', 'actualDst', 'src'), ...rows('outbound', 'src', 'actualDst')];
    }),
};

/** By the name that follows `halo ztunnel`. */
export const DUMP_VIEWS: ReadonlyMap<string, DumpView> = new Map([
  ['workloads', WORKLOADS],
  ['services', SERVICES],
  ['demands', DEMANDED],
  ['policies', POLICIES],
  ['certificates', CERTIFICATES],
  ['connections', CONNECTIONS],
]);

/** The certificate of an identity in a dump. */
export type LeafCertificate = Readonly<{
  identity: string;
  state: string;
  serialNumber: string;
  notBefore: string;
  notAfter: string;
}>;

/** The leaf of every identity that a ztunnel holds, or tries to. */
export function leafCertificates(dump: ConfigDump): LeafCertificate[] {
  return listAt(dump, 'certificates').map((entry) => {
    const [leaf] = listAt(entry, 'certChain');
    return {
      identity: textAt(entry, 'identity'),
      state: textAt(entry, 'state'),
      serialNumber: textAt(leaf, 'serialNumber'),
      notBefore: textAt(leaf, 'validFrom'),
      notAfter: textAt(leaf, 'expirationTime'),
    };
  });
}

function waypointOf(object: unknown): string {
  return textAt(object, 'waypoint', 'destination') || 'None';
}

function stateCell(state: string): Cell {
  return state === 'Available' ? state : { text: state, style: 'bad' };
}

function certificateRow(name: string, type: string, state: string, certificate: unknown): Cell[] {
  const notAfter = textAt(certificate, 'expirationTime');
  const notBefore = textAt(certificate, 'validFrom');
  const now = Date.now();
  const valid = Date.parse(notBefore) <= now && now < Date.parse(notAfter);
  return [
    name,
    type,
    stateCell(state),
    valid ? 'true' : { text: 'false', style: 'bad' },
    textAt(certificate, 'serialNumber') || String(numberAt(certificate, 'serialNumber')),
    notAfter,
    notBefore,
  ];
}
