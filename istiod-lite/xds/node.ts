import type { Node } from '../../mesh/proto/gen/node.ts';

/** A proxy as it describes itself; only what is checked against its token is believed. */
export type ProxyNode = Readonly<{
  /** The whole node id, which names the proxy in status and logs. */
  id: string;
  type: 'ztunnel' | 'waypoint';
  name: string;
  namespace: string;
  /** '' when it does not say. */
  serviceAccount: string;
  nodeName: string;
}>;

/** `<type>~<address>~<pod>.<namespace>~<domain>`; a reason instead when it is no such thing. */
export function parseNode(node: Node | undefined): ProxyNode | string {
  if (node === undefined || node.id === '') return 'the first request has no node id';
  if (node.id.length > 1024) return 'the node id is too long';
  const parts = node.id.split('~');
  const [type = '', , id = ''] = parts;
  if (parts.length !== 4) return 'the node id has not four parts';
  if (type !== 'ztunnel' && type !== 'waypoint')
    return `proxies of type ${JSON.stringify(type.slice(0, 32))} are not served`;
  const dot = id.lastIndexOf('.');
  const name = id.slice(0, Math.max(0, dot));
  const namespace = id.slice(dot + 1);
  if (name === '' || namespace === '') return 'the node id names no pod and namespace';
  const told = textOf(node, 'NAMESPACE');
  if (told !== '' && told !== namespace) return 'the node id and NAMESPACE differ';
  return {
    ...{ id: node.id, type, name, namespace },
    serviceAccount: textOf(node, 'SERVICE_ACCOUNT'),
    nodeName: textOf(node, 'NODE_NAME'),
  };
}

function textOf(node: Node, key: string): string {
  const metadata: Readonly<Record<string, unknown>> = node.metadata ?? {};
  const value = Object.hasOwn(metadata, key) ? metadata[key] : undefined;
  return typeof value === 'string' ? value.slice(0, 1024) : '';
}
