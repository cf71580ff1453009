/**
 * What went wrong with a request, in Envoy's letters, which dashboards and alerts read. A request can have several, so each is
 * a bit.
 */
export const UH = 1 << 0; // no healthy upstream
export const UF = 1 << 1; // upstream connection failure
export const UO = 1 << 2; // upstream overflow: a circuit breaker
export const NR = 1 << 3; // no route
export const URX = 1 << 4; // retries exhausted
export const NC = 1 << 5; // no such backend
export const DC = 1 << 6; // the client went away
export const UT = 1 << 7; // upstream request timeout
export const LR = 1 << 8; // reset by ourselves
export const UR = 1 << 9; // reset by the upstream
export const UC = 1 << 10; // the upstream's connection ended
export const DI = 1 << 11; // a delay was injected
export const FI = 1 << 12; // a fault was injected
export const RL = 1 << 13; // rate limited
export const UAEX = 1 << 14; // refused by external or token authorization
export const RLSE = 1 << 15; // the rate limit service failed
export const SI = 1 << 16; // stream idle timeout
export const DPE = 1 << 17; // the client broke the protocol
export const UPE = 1 << 18; // the upstream broke the protocol

const LETTERS = [
  ...['UH', 'UF', 'UO', 'NR', 'URX', 'NC', 'DC', 'UT', 'LR', 'UR', 'UC', 'DI', 'FI', 'RL', 'UAEX'],
  ...['RLSE', 'SI', 'DPE', 'UPE'],
];

/** Few combinations ever occur. */
const texts = new Map<number, string>([[0, '-']]);

/** `-` for none, else the letters with commas between. */
export function formatFlags(flags: number): string {
  let text = texts.get(flags);
  if (text === undefined) {
    text = LETTERS.filter((_, bit) => (flags & (1 << bit)) !== 0).join(',');
    texts.set(flags, text);
  }
  return text;
}
