import type { HeaderList } from '../../net/h2/headers.ts';

/** A response that the waypoint itself gives. */
export type FilterAnswer = Readonly<{
  /** `:status` first. */
  headers: HeaderList;
  /** Not sent to HEAD; empty where the status has none. */
  body: Buffer;
  /** For the access log. */
  reason: string;
}>;

export const NO_BODY: Buffer = Buffer.alloc(0);

/** What has no body, and so no length either. RFC 9110 sections 15.3.5 and 15.4.5. */
const WITHOUT_BODY: ReadonlySet<number> = new Set([204, 304]);

/** An answer with that text, made once for a rule. */
export function directAnswer(status: number, text: string, reason: string): FilterAnswer {
  if (WITHOUT_BODY.has(status))
    return { headers: [':status', String(status)], body: NO_BODY, reason };
  const body = Buffer.from(text, 'utf8');
  const type = body.length === 0 ? [] : ['content-type', 'text/plain; charset=utf-8'];
  const headers = [':status', String(status), 'content-length', String(body.length), ...type];
  return { headers, body, reason };
}
