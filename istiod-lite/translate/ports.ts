import type { AppProtocol, PortMapping } from '../../mesh/model/service.ts';
import type { Pod, Service } from '../../mesh/kubernetes/core.ts';
import type { ServiceEntry } from '../../mesh/kubernetes/networking.ts';

/** Names of protocols as `appProtocol` and the first part of a port's name have them; istio/istio pkg/config/kube/conversion.go. */
const PROTOCOLS: ReadonlyMap<string, AppProtocol> = new Map([
  ['http', 'HTTP11'],
  ['http2', 'HTTP2'],
  ['grpc', 'GRPC'],
  ['tcp', 'TCP'],
  ['tls', 'TLS'],
  ['https', 'TLS'],
  ['kubernetes.io/h2c', 'HTTP2'],
  ['kubernetes.io/ws', 'HTTP11'],
  ['kubernetes.io/wss', 'TLS'],
]);

/** The protocol of a Service's port: `appProtocol`, else the beginning of its name. */
export function protocolOf(appProtocol: string, name: string): AppProtocol {
  if (appProtocol !== '') return PROTOCOLS.get(appProtocol.toLowerCase()) ?? 'UNKNOWN';
  const [first = '', second = ''] = name.toLowerCase().split('-');
  // Of gRPC it has the messages alone: browsers speak it in either version of HTTP.
  if (first === 'grpc' && second === 'web') return 'UNKNOWN';
  return PROTOCOLS.get(first) ?? 'UNKNOWN';
}

/** A Service's ports as clients see them; a named target is 0, each endpoint knows its own. */
export function servicePorts(service: Service): PortMapping[] {
  return service.spec.ports.map(({ port, targetPort, appProtocol, name, protocol }) => ({
    servicePort: port,
    targetPort: typeof targetPort === 'number' ? targetPort || port : 0,
    appProtocol: protocol === 'TCP' ? protocolOf(appProtocol, name) : 'UNKNOWN',
  }));
}

export function serviceEntryPorts(entry: ServiceEntry): PortMapping[] {
  return entry.spec.ports.map(({ number, targetPort, protocol, name }) => ({
    servicePort: number,
    targetPort: targetPort || number,
    appProtocol: protocolOf(protocol, name),
  }));
}

/** A Service's ports at an endpoint; `named` looks a name up there. A name that is not found leaves the port out. */
export function portsAtEndpoint(
  service: Service,
  named: (name: string) => number | undefined,
): PortMapping[] {
  return service.spec.ports
    .filter(({ protocol }) => protocol === 'TCP')
    .flatMap(({ port, targetPort }) => {
      const target = typeof targetPort === 'number' ? targetPort || port : named(targetPort);
      return target === undefined ? [] : [mapping(port, target)];
    });
}

/** A ServiceEntry's ports at an endpoint: by the port's name, else its target port, else its number. */
export function entryPortsAtEndpoint(
  entry: ServiceEntry,
  named: (name: string) => number | undefined,
): PortMapping[] {
  return entry.spec.ports
    .filter(({ protocol }) => protocol !== 'UDP')
    .map(({ number, targetPort, name }) => mapping(number, named(name) ?? (targetPort || number)));
}

/** The TCP port that a pod's container calls so; of init containers only those that keep running count. */
export function containerPort(pod: Pod, name: string): number | undefined {
  const sidecars = pod.spec.initContainers.filter(
    ({ restartPolicy }) => restartPolicy === 'Always',
  );
  for (const { ports } of [...pod.spec.containers, ...sidecars])
    for (const port of ports)
      if (port.name === name && port.protocol === 'TCP' && port.containerPort > 0)
        return port.containerPort;
  return undefined;
}

function mapping(servicePort: number, targetPort: number): PortMapping {
  return { servicePort, targetPort, appProtocol: 'UNKNOWN' };
}
