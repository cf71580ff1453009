export type PodOptions = Readonly<{
  namespace?: string;
  node?: string;
  account?: string;
  labels?: Readonly<Record<string, string>>;
  annotations?: Readonly<Record<string, string>>;
  readinessProbe?: object;
}>;

/** The image of the scripted peer. */
export const PEER_IMAGE = 'test/peer';

/** A Namespace as YAML, in the mesh unless told otherwise. */
export function namespaceYaml(
  name: string,
  labels: Readonly<Record<string, string>> = AMBIENT,
): string {
  return objectsYaml({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } });
}

export const AMBIENT: Readonly<Record<string, string>> = { 'istio.io/dataplane-mode': 'ambient' };

/** A Pod with a scripted peer, and the ServiceAccount it runs under (named as the pod unless told otherwise). */
export function podYaml(name: string, options: PodOptions = {}): string {
  const { namespace = 'shop', node, account = name, labels = {}, annotations = {} } = options;
  const { readinessProbe } = options;
  const namespaceOfPod = { fieldRef: { fieldPath: 'metadata.namespace' } };
  return objectsYaml(
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: account, namespace } },
    {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name, namespace, labels: { app: name, ...labels }, annotations },
      spec: {
        serviceAccountName: account,
        terminationGracePeriodSeconds: 1,
        ...(node !== undefined && { nodeName: node }),
        containers: [
          {
            ...{ name: 'peer', image: PEER_IMAGE },
            env: [{ name: 'POD_NAMESPACE', valueFrom: namespaceOfPod }],
            ...(readinessProbe !== undefined && { readinessProbe }),
          },
        ],
      },
    },
  );
}

export type ServerPodOptions = Pick<PodOptions, 'namespace' | 'node' | 'labels'> &
  Readonly<{
    image?: string;
    /** The text of a CommonJS program, in the place of an image. */
    program?: string;
    command?: readonly string[];
    env?: Readonly<Record<string, string>>;
    /** 8080 unless told otherwise. */
    port?: number;
  }>;

/** A Pod that runs a program which is ready when it listens; it finds its own name in POD_NAME. */
export function serverPodYaml(name: string, options: ServerPodOptions): string {
  const { namespace = 'shop', node, labels = {}, image = 'local/program', env = {} } = options;
  const { program, port = 8080 } = options;
  const command = program === undefined ? options.command : [process.execPath, '-e', program];
  return objectsYaml({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace, labels: { app: name, ...labels } },
    spec: {
      ...(node !== undefined && { nodeName: node }),
      containers: [
        {
          ...{ name: 'server', image, ...(command !== undefined && { command }) },
          env: [
            { name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
            ...Object.entries(env).map(([variable, value]) => ({ name: variable, value })),
          ],
          readinessProbe: { tcpSocket: { port } },
        },
      ],
    },
  });
}

export type HttpServiceOptions = Readonly<{
  /** The pods `app: <name>` unless told otherwise. */
  selector?: Readonly<Record<string, string>>;
  labels?: Readonly<Record<string, string>>;
  morePorts?: readonly object[];
}>;

/** A Service of HTTP on port 80, from 8080 of its pods. */
export function httpServiceYaml(name: string, options: HttpServiceOptions = {}): string {
  const { selector = { app: name }, labels = {}, morePorts = [] } = options;
  const ports = [{ name: 'http', port: 80, targetPort: 8080 }, ...morePorts];
  return serviceYaml(name, {}, { selector, ports }, 'shop', labels);
}

export const USE_WAYPOINT: Readonly<Record<string, string>> = {
  'istio.io/use-waypoint': 'waypoint',
};

/** The same, that uses the waypoint of its namespace. */
export function waypointServiceYaml(
  name: string,
  options: Omit<HttpServiceOptions, 'labels'> = {},
): string {
  return httpServiceYaml(name, { ...options, labels: USE_WAYPOINT });
}

/** A Service of the pods with the label `app: <name>` unless `spec` says otherwise; `ports` as port: targetPort. */
export function serviceYaml(
  name: string,
  ports: Readonly<Record<number, number>>,
  spec: Readonly<Record<string, unknown>> = {},
  namespace = 'shop',
  labels: Readonly<Record<string, string>> = {},
): string {
  return objectsYaml({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace, labels },
    spec: {
      selector: { app: name },
      ports: Object.entries(ports).map(([port, targetPort]) => ({
        ...{ name: `tcp-${port}`, port: Number(port), targetPort },
      })),
      ...spec,
    },
  });
}

/** JSON is YAML; a document of a file for each. */
export function objectsYaml(...objects: readonly object[]): string {
  return objects.map((object) => `---\n${JSON.stringify(object)}\n`).join('');
}

/** Two pods of one account both bring it along; a file may hold an object once. */
export function uniqueDocuments(yaml: string): string {
  return [...new Set(yaml.split(/^---\n/m))].join('---\n');
}
