import type { HeaderList } from '../net/h2/headers.ts';

/** What was decided about the span of a request. */
export type TraceDecision = Readonly<
  | { sampled: false }
  | {
      sampled: true;
      /** 32 hexadecimal digits. */
      traceId: string;
      /** Of our own span, 16 hexadecimal digits. */
      spanId: string;
      /** Of the span that the client has told; '' where the trace begins here. */
      parentId: string;
      traceState: string;
    }
>;

/** One for all of them. */
export const NOT_SAMPLED: TraceDecision = { sampled: false };

/** Bit 0 of the flags. W3C Trace Context, section 3.2.2.5.1. */
const SAMPLED = 1;
/** Version 00, section 3.2; later versions begin the same way and may go on after a dash, section 3.2.4. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}/;
const LENGTH = 55;

/** A `traceparent` with a form that can be gone on with. */
function isTraceparent(text: string): boolean {
  if (!TRACEPARENT.test(text)) return false;
  return text.length === LENGTH || (!text.startsWith('00') && text.charAt(LENGTH) === '-');
}

export function traceIdOf(traceparent: string): string {
  return traceparent.slice(3, 35);
}

export function parentIdOf(traceparent: string): string {
  return traceparent.slice(36, 52);
}

export function isSampled(traceparent: string): boolean {
  return (Number.parseInt(traceparent.slice(53, LENGTH), 16) & SAMPLED) !== 0;
}

/**
 * Where the one usable `traceparent` of a head stands, the index of its value; -1 without one. More than one counts as none:
 * nobody could say which is meant. Section 3.2.1.
 */
export function findTraceparent(list: HeaderList): number {
  let found = -1;
  for (let index = 0; index < list.length; index += 2) {
    if (list[index] !== 'traceparent') continue;
    if (found >= 0) return -1;
    found = index + 1;
  }
  return found >= 0 && isTraceparent(list[found] ?? '') ? found : -1;
}

/** Takes out all that tells of a trace: what came cannot be gone on with. Section 3.3: `tracestate` goes with it. */
export function removeTraceContext(list: string[]): void {
  for (let index = list.length - 2; index >= 0; index -= 2)
    if (list[index] === 'traceparent' || list[index] === 'tracestate') list.splice(index, 2);
}

/** The values of `tracestate`, which may come in parts. Section 3.3.1. */
export function traceStateOf(list: HeaderList): string {
  let state = '';
  for (let index = 0; index < list.length; index += 2) {
    if (list[index] !== 'tracestate') continue;
    state += state === '' ? (list[index + 1] ?? '') : `,${list[index + 1] ?? ''}`;
  }
  return state;
}
