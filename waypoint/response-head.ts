import type { HeaderList } from '../net/h2/headers.ts';

/** What clients of Envoy go by; the rest of `x-envoy-*` is between proxies and their operators. */
const KEPT: ReadonlySet<string> = new Set(['x-envoy-overloaded', 'x-envoy-ratelimited']);
const X = 0x78;

/**
 * The head of an upstream's response, as it goes back to the client.
 *
 * @param server overwrites what the application calls itself; `undefined` leaves it.
 */
export function forwardedResponse(
  received: HeaderList,
  serviceTimeMs: number,
  server: string | undefined,
): string[] {
  const list: string[] = [];
  let hasDate = false;
  for (let index = 0; index < received.length; index += 2) {
    const name = received[index] ?? '';
    if (name === 'server' && server !== undefined) continue;
    if (name === 'date') hasDate = true;
    else if (name.charCodeAt(0) === X && name.startsWith('x-envoy-') && !KEPT.has(name)) continue;
    list.push(name, received[index + 1] ?? '');
  }
  if (server !== undefined) list.push('server', server);
  if (!hasDate) list.push('date', httpDate());
  list.push('x-envoy-upstream-service-time', String(Math.round(serviceTimeMs)));
  return list;
}

/** Names and values of all fields. */
export function headerBytes(list: HeaderList): number {
  let bytes = 0;
  for (const text of list) bytes += text.length;
  return bytes;
}

let dateSecond = 0;
let dateText = '';

/** The time as a `date` field has it; many responses share a second. */
export function httpDate(): string {
  const nowMs = Date.now();
  const second = Math.floor(nowMs / 1000);
  if (second !== dateSecond) {
    dateSecond = second;
    dateText = new Date(nowMs).toUTCString();
  }
  return dateText;
}
