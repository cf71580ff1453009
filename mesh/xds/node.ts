import type { Node } from '../proto/gen/node.ts';

/** The first words of a proxy to the control plane: who it is. */
export type NodeFacts = Readonly<{
  type: 'ztunnel' | 'waypoint';
  podName: string;
  podNamespace: string;
  /** '' where it is not known. */
  instanceIp: string;
  nodeName: string;
  serviceAccount: string;
}>;

const META_PREFIX = 'ISTIO_META_';
const META_JSON_PREFIX = 'ISTIO_METAJSON_';
/** As istio/ztunnel src/xds/client.rs for a proxy that does not know its address. */
const UNKNOWN_IP = '1.1.1.1';

/**
 * The node of an xDS stream. Metadata are the facts, then what the environment adds as `ISTIO_META_<name>` (text) and
 * `ISTIO_METAJSON_<name>` (JSON; what is none is left out).
 */
export function makeNode(facts: NodeFacts, env: ReadonlyMap<string, string>): Node {
  const { type, podName, podNamespace, instanceIp } = facts;
  const ip = instanceIp === '' ? UNKNOWN_IP : instanceIp;
  const metadata: [string, unknown][] = [
    ['NAME', podName],
    ['NAMESPACE', podNamespace],
    ['INSTANCE_IPS', ip],
    ['NODE_NAME', facts.nodeName],
    ['SERVICE_ACCOUNT', facts.serviceAccount],
  ];
  for (const [name, value] of env) {
    if (name.startsWith(META_JSON_PREFIX)) {
      const parsed = parseJson(value);
      if (parsed !== undefined) metadata.push([name.slice(META_JSON_PREFIX.length), parsed]);
    } else if (name.startsWith(META_PREFIX)) metadata.push([name.slice(META_PREFIX.length), value]);
  }
  return {
    id: `${type}~${ip}~${podName}.${podNamespace}~${podNamespace}.svc.cluster.local`,
    cluster: '',
    // The facts win: a variable must not make a proxy call itself another.
    metadata: Object.fromEntries([...metadata, ...metadata.slice(0, 5)]),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
