import type { ExecutionContext } from 'ava';
import { parentsView, type GatewayMesh } from '../gateway-mesh.ts';
import { INFRA, WEB_BACKEND } from '../namespaces.ts';
import { grant, route, type Manifest, type Parents } from '../objects.ts';
import { FINE } from './attaching.ts';
import type { Run, Runs } from './run.ts';

type Names =
  | 'TCPRouteMultipleRoutesAttachment'
  | 'TCPRouteInvalidBackendRefNonexistent'
  | 'TCPRouteInvalidCrossNamespaceBackendRef'
  | 'TCPRouteInvalidNonTCPListener'
  | 'TCPRouteParentRefAttachAll'
  | 'TCPRouteParentRefPortAndSectionName'
  | 'TCPRouteReferenceGrant'
  | 'TCPRouteWeightedRouting'
  | 'UDPRoute'
  | 'UDPRouteMultipleRoutesAttachment'
  | 'UDPRouteInvalidBackendRefNonexistent'
  | 'UDPRouteInvalidCrossNamespaceBackendRef'
  | 'UDPRouteNotAllowedByListeners'
  | 'UDPRouteParentRefAttachAllListeners'
  | 'UDPRouteParentRefPortAndSectionName'
  | 'UDPRouteReferenceGrant'
  | 'UDPRouteWeightedRouting';

/** The Gateway of these tests: two listeners of each protocol, and one that takes neither. */
export const STREAMS = 'streams';
export const STREAM_LISTENERS = [
  { name: 'tcp-1', protocol: 'TCP', port: 9000 },
  { name: 'tcp-2', protocol: 'TCP', port: 9001 },
  { name: 'udp-1', protocol: 'UDP', port: 9000 },
  { name: 'udp-2', protocol: 'UDP', port: 9001 },
  { name: 'http', port: 80 },
];

type Protocol = 'tcp' | 'udp';

const KINDS = { tcp: 'TCPRoute', udp: 'UDPRoute' } as const;
const BACKEND_PORT = { tcp: 9090, udp: 9091 };

type Backend = Readonly<{ name: string; namespace?: string; weight?: number }>;

function streams(
  protocol: Protocol,
  name: string,
  parents: Parents,
  ...backends: readonly Backend[]
): Manifest {
  const backendRefs = backends.map((backend) => ({ port: BACKEND_PORT[protocol], ...backend }));
  return route(KINDS[protocol], name, parents, [{ backendRefs }]);
}

/** Who answers at each of the two ports; '' for nobody. */
async function expectAnswers(
  t: ExecutionContext,
  mesh: GatewayMesh,
  protocol: Protocol,
  expected: readonly [string, string],
): Promise<void> {
  const answers = await mesh.send(
    [9000, 9001].map((port) => ({ url: `${protocol}://streams:${port}` })),
  );
  t.deepEqual(
    answers.map(([answer]) => answer?.echo?.pod.replace(/-[a-z0-9]+-[a-z0-9]+$/, '') ?? ''),
    [...expected],
  );
}

const at = (sectionName: string): Parents => [{ name: STREAMS, sectionName }];

function nonexistent(protocol: Protocol): Run {
  return async (t, mesh) => {
    const section = `${protocol}-1`;
    const object = streams(protocol, 'nonexistent', at(section), { name: 'nonexistent' });
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, {
      [`${STREAMS}/${section}`]: { ...FINE, ResolvedRefs: 'False BackendNotFound' },
    });
    await expectAnswers(t, mesh, protocol, ['', '']);
  };
}

const ELSEWHERE = { name: 'web-backend', namespace: WEB_BACKEND };

function crossNamespace(protocol: Protocol): Run {
  return async (t, mesh) => {
    const section = `${protocol}-1`;
    const object = streams(protocol, 'cross-namespace', at(section), ELSEWHERE);
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, {
      [`${STREAMS}/${section}`]: { ...FINE, ResolvedRefs: 'False RefNotPermitted' },
    });
    await expectAnswers(t, mesh, protocol, ['', '']);
  };
}

function granted(protocol: Protocol): Run {
  return async (t, mesh) => {
    const section = `${protocol}-1`;
    const object = streams(protocol, 'granted', at(section), ELSEWHERE);
    const from = { kind: KINDS[protocol], namespace: INFRA };
    const permission = grant('streams', WEB_BACKEND, from, { kind: 'Service' });
    await mesh.use(t, object, permission);
    await mesh.expectStatus(t, object, parentsView, { [`${STREAMS}/${section}`]: FINE });
    await expectAnswers(t, mesh, protocol, ['web-backend', '']);
    await mesh.remove(permission);
    await mesh.expectStatus(t, object, parentsView, {
      [`${STREAMS}/${section}`]: { ...FINE, ResolvedRefs: 'False RefNotPermitted' },
    });
    await expectAnswers(t, mesh, protocol, ['', '']);
  };
}

function multiple(protocol: Protocol): Run {
  return async (t, mesh) => {
    const section = `${protocol}-1`;
    const first = streams(protocol, 'a-first', at(section), { name: 'infra-backend-v1' });
    const second = streams(protocol, 'b-second', at(section), { name: 'infra-backend-v2' });
    await mesh.use(t, first);
    await mesh.use(t, second);
    for (const object of [first, second])
      await mesh.expectStatus(t, object, parentsView, { [`${STREAMS}/${section}`]: FINE });
    // The older one has them all, and when it goes, the other.
    await expectAnswers(t, mesh, protocol, ['infra-backend-v1', '']);
    await mesh.remove(first);
    await expectAnswers(t, mesh, protocol, ['infra-backend-v2', '']);
  };
}

function notAllowed(protocol: Protocol): Run {
  return async (t, mesh) => {
    const object = streams(protocol, 'not-allowed', at('http'), { name: 'infra-backend-v1' });
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, {
      [`${STREAMS}/http`]: { ...FINE, Accepted: 'False NotAllowedByListeners' },
    });
    await expectAnswers(t, mesh, protocol, ['', '']);
  };
}

function attachAll(protocol: Protocol): Run {
  return async (t, mesh) => {
    const object = streams(protocol, 'everywhere', [STREAMS], { name: 'infra-backend-v1' });
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, { [STREAMS]: FINE });
    await expectAnswers(t, mesh, protocol, ['infra-backend-v1', 'infra-backend-v1']);
  };
}

function portAndSection(protocol: Protocol): Run {
  return async (t, mesh) => {
    const parent = (sectionName: string, port: number): Parents => [
      { name: STREAMS, sectionName, port },
    ];
    const [first, second] = [`${protocol}-1`, `${protocol}-2`];
    const wrong = streams(protocol, 'wrong', parent(first, 9001), { name: 'infra-backend-v3' });
    await mesh.use(
      ...([t, wrong] as const),
      streams(protocol, 'first', parent(first, 9000), { name: 'infra-backend-v1' }),
      streams(protocol, 'second', parent(second, 9001), { name: 'infra-backend-v2' }),
    );
    await mesh.expectStatus(t, wrong, parentsView, {
      [`${STREAMS}/${first}/9001`]: { ...FINE, Accepted: 'False NoMatchingParent' },
    });
    await expectAnswers(t, mesh, protocol, ['infra-backend-v1', 'infra-backend-v2']);
  };
}

/** Shares of connections, or of clients where there are none. */
function weighted(protocol: Protocol): Run {
  return async (t, mesh) => {
    const backends = [70, 30, 0].map((weight, index) => ({
      ...{ name: `infra-backend-v${index + 1}`, weight },
    }));
    await mesh.use(t, streams(protocol, 'weighted', at(`${protocol}-1`), ...backends));
    const count = 400;
    const [answers = []] = await mesh.send([{ url: `${protocol}://streams:9000`, count }]);
    const by = answers.map(({ echo }) => echo?.pod.slice(0, 'infra-backend-v1'.length) ?? '');
    t.deepEqual([...new Set(by)].sort(), ['infra-backend-v1', 'infra-backend-v2']);
    const share = by.filter((name) => name === 'infra-backend-v1').length / count;
    // 4.9 standard deviations of a fair choice.
    t.true(Math.abs(share - 0.7) < 0.112, `${share} went to infra-backend-v1`);
  };
}

export const streamRoutes: Runs<Names> = {
  TCPRouteMultipleRoutesAttachment: multiple('tcp'),
  TCPRouteInvalidBackendRefNonexistent: nonexistent('tcp'),
  TCPRouteInvalidCrossNamespaceBackendRef: crossNamespace('tcp'),
  TCPRouteInvalidNonTCPListener: notAllowed('tcp'),
  TCPRouteParentRefAttachAll: attachAll('tcp'),
  TCPRouteParentRefPortAndSectionName: portAndSection('tcp'),
  TCPRouteReferenceGrant: granted('tcp'),
  TCPRouteWeightedRouting: weighted('tcp'),

  async UDPRoute(t, mesh) {
    const object = streams('udp', 'udp', at('udp-1'), { name: 'infra-backend-v1' });
    await mesh.use(t, object);
    await mesh.expectStatus(t, object, parentsView, { [`${STREAMS}/udp-1`]: FINE });
    await expectAnswers(t, mesh, 'udp', ['infra-backend-v1', '']);
  },
  UDPRouteMultipleRoutesAttachment: multiple('udp'),
  UDPRouteInvalidBackendRefNonexistent: nonexistent('udp'),
  UDPRouteInvalidCrossNamespaceBackendRef: crossNamespace('udp'),
  UDPRouteNotAllowedByListeners: notAllowed('udp'),
  UDPRouteParentRefAttachAllListeners: attachAll('udp'),
  UDPRouteParentRefPortAndSectionName: portAndSection('udp'),
  UDPRouteReferenceGrant: granted('udp'),
  UDPRouteWeightedRouting: weighted('udp'),
};
