import { boundedList, boundedText, checked, headerName } from './gateway-values.ts';
import { checkOneOf, goDuration, number } from './istio-values.ts';

import {
  anything,
  bool,
  dictionary,
  fields,
  integer,
  list,
  oneOf,
  optional,
  port,
  required,
  text,
  type Decoded,
  type Schema,
} from './schema.ts';

// The trafficPolicy of a DestinationRule; networking.istio.io/v1, with the bounds of Istio's admission.

const MAX_UINT32 = 0xffff_ffff;
const count = (): Schema<number | undefined> => optional(integer(0, MAX_UINT32));
const percent = (): Schema<number | undefined> => optional(integer(0, 100));

/** Envoy's `max_ring_size`, and its greatest Maglev table. */
const MAX_RING_SIZE = 8 * 1024 * 1024;
const MAX_MAGLEV_TABLE = 5_000_011;

function isPrime(value: number): boolean {
  if (value < 2) return false;
  for (let factor = 2; factor * factor <= value; factor++) if (value % factor === 0) return false;
  return true;
}

const maglev = fields({
  tableSize: optional(
    checked(integer(1, MAX_MAGLEV_TABLE), (value, path, report) => {
      if (!isPrime(value)) report.error(path, `must be a prime number: found ${value}`);
    }),
  ),
});

const consistentHash = checked(
  fields({
    httpHeaderName: optional(headerName()),
    httpCookie: optional(
      fields({
        name: required(headerName()),
        path: text(),
        ttl: optional(goDuration(0)),
        attributes: list(fields({ name: required(text()), value: text() })),
      }),
    ),
    useSourceIp: bool(),
    httpQueryParameterName: optional(text()),
    ringHash: optional(fields({ minimumRingSize: optional(integer(0, MAX_RING_SIZE)) })),
    maglev: optional(maglev),
    minimumRingSize: optional(integer(0, MAX_RING_SIZE)),
  }),
  (value, path, report) => {
    const keys = ['httpHeaderName', 'httpCookie', 'useSourceIp', 'httpQueryParameterName'];
    checkOneOf(value, keys, 1, path, report);
    checkOneOf(value, ['ringHash', 'maglev'], 0, path, report);
  },
);

/** `region/zone/subzone` from the left, each a name; the last part that is there may be `*`. */
const LOCALITY = /^(?:[^/*]+\/){0,2}(?:[^/*]+|\*)$/;

function locality(): Schema<string> {
  return boundedText(1, 253, LOCALITY, 'locality');
}

const distribution = checked(
  fields({ from: required(locality()), to: dictionary(integer(0, 100)) }),
  ({ to }, path, report) => {
    const sum = [...to.values()].reduce((total, weight) => total + weight, 0);
    if (sum !== 100) report.error([...path, 'to'], `must sum up to 100: found ${sum}`);
    for (const key of to.keys()) locality().decode(key, [...path, 'to', key], report);
  },
);

const failover = checked(
  fields({ from: required(text()), to: required(text()) }),
  ({ from, to }, path, report) => {
    if (from === to) report.error(path, 'must name two different regions');
    for (const [field, value] of [
      ['from', from],
      ['to', to],
    ] as const)
      if (value.includes('/') || value.includes('*'))
        report.error([...path, field], 'must be a region, without zone and "*"');
  },
);

const localityLbSetting = checked(
  fields({
    distribute: list(distribution),
    failover: list(failover),
    failoverPriority: list(text()),
    enabled: optional(bool()),
  }),
  ({ distribute, failover: regions, failoverPriority }, path, report) => {
    if (distribute.length > 0 && regions.length + failoverPriority.length > 0)
      report.error(path, 'must not have distribute together with failover or failoverPriority');
  },
);

/** Istio asks for 1 at least; below, a warm-up would begin steeper than it says. */
const [MIN_AGGRESSION, MAX_AGGRESSION] = [1, 1000];

const warmup = fields({
  duration: required(goDuration()),
  minimumPercent: percent(),
  aggression: optional(number(MIN_AGGRESSION, MAX_AGGRESSION)),
});

const loadBalancer = checked(
  fields({
    simple: optional(
      oneOf(
        ['UNSPECIFIED', 'LEAST_CONN', 'RANDOM', 'PASSTHROUGH', 'ROUND_ROBIN', 'LEAST_REQUEST'],
        'UNSPECIFIED',
      ),
    ),
    consistentHash: optional(consistentHash),
    localityLbSetting: optional(localityLbSetting),
    zoneAwareLbSetting: optional(anything()),
    /** The older form of `warmup.duration`. */
    warmupDurationSecs: optional(goDuration()),
    warmup: optional(warmup),
  }),
  (value, path, report) => {
    checkOneOf(value, ['simple', 'consistentHash'], 0, path, report);
    checkOneOf(value, ['warmup', 'warmupDurationSecs'], 0, path, report);
    checkOneOf(value, ['localityLbSetting', 'zoneAwareLbSetting'], 0, path, report);
  },
);

const connectionPool = fields({
  tcp: optional(
    fields({
      maxConnections: count(),
      connectTimeout: optional(goDuration()),
      tcpKeepalive: optional(anything()),
      maxConnectionDuration: optional(goDuration()),
      idleTimeout: optional(goDuration(0)),
    }),
  ),
  http: optional(
    fields({
      http1MaxPendingRequests: count(),
      http2MaxRequests: count(),
      maxRequestsPerConnection: count(),
      maxRetries: count(),
      idleTimeout: optional(goDuration(0)),
      h2UpgradePolicy: optional(oneOf(['DEFAULT', 'DO_NOT_UPGRADE', 'UPGRADE'], 'DEFAULT')),
      useClientProtocol: bool(),
      maxConcurrentStreams: count(),
      http2KeepAlive: optional(anything()),
    }),
  ),
});

const outlierDetection = fields({
  /** The older form of `consecutive5xxErrors`. */
  consecutiveErrors: count(),
  splitExternalLocalOriginErrors: bool(),
  consecutiveLocalOriginFailures: count(),
  consecutiveGatewayErrors: count(),
  consecutive5xxErrors: count(),
  interval: optional(goDuration()),
  baseEjectionTime: optional(goDuration()),
  maxEjectionPercent: percent(),
  minHealthPercent: percent(),
  outlierDetectionHttpErrorCodes: optional(anything()),
});

const tls = checked(
  fields({
    mode: optional(oneOf(['DISABLE', 'SIMPLE', 'MUTUAL', 'ISTIO_MUTUAL'], 'DISABLE')),
    clientCertificate: text(),
    privateKey: text(),
    caCertificates: text(),
    caCrl: text(),
    credentialName: text(),
    subjectAltNames: list(text()),
    sni: text(),
    insecureSkipVerify: bool(),
  }),
  (value, path, report) => {
    const { mode, credentialName, clientCertificate, privateKey, caCertificates, caCrl } = value;
    if (
      mode === 'MUTUAL' &&
      credentialName === '' &&
      (clientCertificate === '' || privateKey === '')
    )
      report.error(path, 'MUTUAL needs clientCertificate and privateKey, or credentialName');
    const files = clientCertificate + privateKey + caCertificates + caCrl;
    if (credentialName !== '' && files !== '')
      report.error([...path, 'credentialName'], 'must not stand beside files of certificates');
  },
);

/** The groups that a subset or a port may have for itself. */
const groups = {
  loadBalancer: optional(loadBalancer),
  connectionPool: optional(connectionPool),
  outlierDetection: optional(outlierDetection),
  tls: optional(tls),
};

const portLevelSettings = boundedList(
  fields({ port: required(fields({ number: required(port()) })), ...groups }),
  4096,
  { keyOf: (setting) => String(setting.port.number) },
);

export const trafficPolicy = fields({
  ...groups,
  portLevelSettings,
  tunnel: optional(anything()),
  proxyProtocol: optional(fields({ version: optional(oneOf(['V1', 'V2'], 'V1')) })),
  retryBudget: optional(
    fields({
      percent: optional(number(0, 100)),
      minRetryConcurrency: count(),
      budgetInterval: optional(goDuration(0)),
    }),
  ),
});

export type TrafficPolicySpec = Decoded<typeof trafficPolicy>;
export type TrafficGroups = Pick<
  TrafficPolicySpec,
  'loadBalancer' | 'connectionPool' | 'outlierDetection' | 'tls'
>;
