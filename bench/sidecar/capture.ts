import { APP_PORT } from '../ambient/application.ts';

/** Istio's ports of a sidecar, and the user whose connections it leaves alone; here they carry it as a mark. */
export const OUTBOUND_PORT = 15001;
export const INBOUND_PORT = 15006;
export const ADMIN_PORT = 15000;
export const SIDECAR_MARK = 1337;

/**
 * Rules of a pod with a sidecar, as istio-init makes them: all that the application dials goes to 15001, all that is
 * dialled to 15006. Istio lets the sidecar's own connections pass by their user; by a mark it works without root too.
 */
export const SIDECAR_RULES = `table ip sidecar {
  chain output {
    type nat hook output priority -100; policy accept;
    meta mark ${SIDECAR_MARK} accept
    oifname "lo" accept
    meta l4proto tcp redirect to :${OUTBOUND_PORT}
  }
  chain prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    iifname != "lo" tcp dport ${APP_PORT} redirect to :${INBOUND_PORT}
  }
}
`;

/** The port of INBOUND_PORT as /proc/net/tcp has it, in the state of listening. */
const LISTENING = `:${INBOUND_PORT.toString(16).toUpperCase()} .* 0A `;

/**
 * Waits until the sidecar listens, then runs the command: what Kubernetes does by a startup probe, which asks once a second
 * at most.
 */
export function afterSidecar(command: readonly string[]): readonly string[] {
  const wait = `until grep -q '${LISTENING}' /proc/net/tcp; do sleep 0.01; done; exec "$@"`;
  return ['sh', '-c', wait, 'sh', ...command];
}
