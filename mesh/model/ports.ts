/** Ports of the node proxy inside every captured pod, as Istio's ambient mode has them. */
export const OUTBOUND_PORT = 15001;
export const INBOUND_PLAINTEXT_PORT = 15006;
export const HBONE_PORT = 15008;
/** On loopback alone. */
export const DNS_PORT = 15053;
/** On loopback alone, and only where it is asked for. */
export const SOCKS5_PORT = 15080;

/** Nothing is ever proxied to these: it would come back to the proxy itself. */
export type OwnPorts = ReadonlySet<number>;
export const OWN_PORTS: OwnPorts = new Set([OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT, HBONE_PORT]);
/** Where SOCKS5 is served; elsewhere its port is an application's like any other. */
export const OWN_PORTS_WITH_SOCKS5: OwnPorts = new Set([...OWN_PORTS, SOCKS5_PORT]);
