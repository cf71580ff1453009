/** Ports of the node proxy inside every captured pod, as Istio's ambient mode has them. */
export const OUTBOUND_PORT = 15001;
export const INBOUND_PLAINTEXT_PORT = 15006;
export const HBONE_PORT = 15008;

/** Nothing is ever proxied to these: it would come back to the proxy itself. */
export function isOwnPort(port: number): boolean {
  return port === OUTBOUND_PORT || port === INBOUND_PLAINTEXT_PORT || port === HBONE_PORT;
}
