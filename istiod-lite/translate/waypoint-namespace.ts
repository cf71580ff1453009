/** One configuration serves all waypoints of a service; where they are of several namespaces, the first by name decides. */
export function namespaceOfFirst(gateways: ReadonlySet<string>): string {
  const [first = ''] = [...gateways].sort();
  return first.slice(0, first.indexOf('/'));
}
