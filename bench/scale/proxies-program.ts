import { XdsProxies } from '../load/xds-proxies.ts';

/*
 * Simulated node proxies in a process of their own, so that what they cost is not the control plane's: is sent a
 * ProxiesStart, and tells a ProxiesReport when all have their first state, and when all have one more change.
 */

export type ProxiesStart = Readonly<{
  port: number;
  rootPem: string;
  token: string;
  count: number;
}>;
export type ProxiesReport = Readonly<{
  kind: 'ready' | 'changed';
  /** process.hrtime.bigint(), which all processes of a machine share. */
  ns: string;
  /** Of each proxy, from asking to its first state. */
  firstMs: readonly number[];
  receivedBytes: number;
}>;

process.once('disconnect', () => process.exit(0));
process.once('message', (message) => {
  const start = message as ProxiesStart;
  const firstMs: number[] = [];
  let changed = 0;
  const report = (kind: ProxiesReport['kind']): void => {
    const ns = String(process.hrtime.bigint());
    const { receivedBytes } = proxies;
    process.send?.({ kind, ns, firstMs, receivedBytes } satisfies ProxiesReport);
  };
  const proxies = new XdsProxies({
    ...start,
    onReady(tookMs) {
      firstMs.push(tookMs);
      if (firstMs.length === start.count) report('ready');
    },
    onChange() {
      if (++changed % start.count === 0) report('changed');
    },
  });
  void proxies.connectAll();
});
