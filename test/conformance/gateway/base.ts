import { ECHO_IMAGE } from '../echo-program.ts';
import { APP_BACKEND, CLIENT, INFRA, WEB_BACKEND } from './namespaces.ts';
import { service, type Manifest } from './objects.ts';

/** The Deployments of the suite by namespace, each with a Service of its name. */
const BACKENDS = [
  ...[`${INFRA}/infra-backend-v1`, `${INFRA}/infra-backend-v2`, `${INFRA}/infra-backend-v3`],
  ...[`${APP_BACKEND}/app-backend-v1`, `${APP_BACKEND}/app-backend-v2`],
  `${WEB_BACKEND}/web-backend`,
];

function namespace(name: string, labels: Readonly<Record<string, string>>): Manifest {
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

function podSpec(): object {
  return {
    terminationGracePeriodSeconds: 1,
    containers: [
      {
        ...{ name: 'echo', image: ECHO_IMAGE },
        env: [
          { name: 'POD_NAMESPACE', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } },
        ],
        readinessProbe: { tcpSocket: { port: 9090 }, periodSeconds: 1 },
      },
    ],
  };
}

function backend(home: string): Manifest[] {
  const [place = '', name = ''] = home.split('/');
  const labels = { app: name };
  return [
    {
      ...{ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name, namespace: place } },
      spec: {
        selector: { matchLabels: labels },
        template: { metadata: { labels }, spec: podSpec() },
      },
    },
    service(
      name,
      {
        selector: labels,
        ports: [
          { name: 'http', port: 8080 },
          { name: 'h2c', port: 8081, targetPort: 3001, appProtocol: 'kubernetes.io/h2c' },
          { name: 'ws', port: 8082, targetPort: 8080, appProtocol: 'kubernetes.io/ws' },
          { name: 'grpc', port: 7070, appProtocol: 'kubernetes.io/h2c' },
          { name: 'tcp', port: 9090 },
          { name: 'udp', port: 9091, protocol: 'UDP' },
        ],
      },
      place,
    ),
  ];
}

/** What all tests stand on. Backends are in the mesh, the client is not. */
export function baseYaml(): string {
  const ambient = { 'istio.io/dataplane-mode': 'ambient' };
  const objects = [
    namespace(INFRA, { ...ambient, 'gateway-conformance': 'infra' }),
    namespace(APP_BACKEND, { ...ambient, 'gateway-conformance': 'backend' }),
    namespace(WEB_BACKEND, { ...ambient, 'gateway-conformance': 'backend' }),
    namespace(CLIENT, {}),
    {
      ...{ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'client', namespace: CLIENT } },
      spec: podSpec(),
    },
    ...BACKENDS.flatMap(backend),
  ];
  return objects.map((object) => `${JSON.stringify(object)}\n`).join('---\n');
}
