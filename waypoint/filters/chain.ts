import { unreachable } from '../../base/unreachable.ts';
import type { HttpFilter } from '../../mesh/model/http-filter.ts';
import type { Redirect } from '../../mesh/model/redirect.ts';
import { findHeader, type HeaderList } from '../../net/h2/headers.ts';
import { Cors } from './cors.ts';
import type { Abort, Delay } from './fault.ts';
import { changeHeaders, checkHeaderChanges, type CheckedHeaderChanges } from './headers.ts';
import type { Mirror } from './mirror.ts';
import { redirectAnswer } from './redirect.ts';
import { directAnswer, NO_BODY, type FilterAnswer } from './respond.ts';
import { compileRewrite, rewriteRequest, type UrlRewrite } from './rewrite.ts';

/** What changes a request or answers it, in the order of its rule. */
type Step = Readonly<
  | { kind: 'headers'; changes: CheckedHeaderChanges }
  | { kind: 'rewrite'; rewrite: UrlRewrite }
  | { kind: 'redirect'; redirect: Redirect }
  | { kind: 'answer'; answer: FilterAnswer }
>;

/** The filters of a rule or a backend, sorted by when they have their turn. */
export type FilterChain = Readonly<{
  delays: readonly Delay[];
  aborts: readonly Abort[];
  cors: Cors | undefined;
  steps: readonly Step[];
  mirrors: readonly Mirror[];
  responseChanges: readonly CheckedHeaderChanges[];
}>;

/** @throws {MeshError} ERR_HEADER_CHANGE, ERR_REGEX, ERR_SUBSTITUTION for a filter that cannot be done: none may be left out. */
export function compileFilters(filters: readonly HttpFilter[]): FilterChain {
  const delays: Delay[] = [];
  const aborts: Abort[] = [];
  const steps: Step[] = [];
  const mirrors: Mirror[] = [];
  const responseChanges: CheckedHeaderChanges[] = [];
  let cors: Cors | undefined;
  for (const filter of filters) {
    switch (filter.kind) {
      case 'request-headers':
        steps.push({ kind: 'headers', changes: checkHeaderChanges(filter.changes, 'request') });
        break;
      case 'response-headers':
        responseChanges.push(checkHeaderChanges(filter.changes, 'response'));
        break;
      case 'rewrite':
        steps.push({ kind: 'rewrite', rewrite: compileRewrite(filter) });
        break;
      case 'redirect':
        steps.push({ kind: 'redirect', redirect: filter.redirect });
        break;
      case 'respond': {
        const { status, body, reason } = filter;
        steps.push({ kind: 'answer', answer: directAnswer(status, body, reason) });
        break;
      }
      case 'mirror':
        mirrors.push(filter);
        break;
      case 'cors':
        cors ??= new Cors(filter.cors);
        break;
      case 'delay':
        delays.push(filter);
        break;
      case 'abort':
        aborts.push(filter);
        break;
      default:
        return unreachable(filter);
    }
  }
  return { delays, aborts, cors, steps, mirrors, responseChanges };
}

/** Where a request goes on with these headers, or what it is answered. */
export type FilterOutcome = Readonly<
  { kind: 'forward'; headers: HeaderList } | { kind: 'answer'; answer: FilterAnswer }
>;

const BAD_PATH = directAnswer(400, '', 'path_rewrite_refused');

/**
 * Does to a request what its rule says, in the rule's order. Faults and CORS have had their turn.
 *
 * @param port of the Service that was asked.
 * @param prefix that the request was matched by.
 */
export function filterRequest(
  { steps }: FilterChain,
  request: HeaderList,
  port: number,
  prefix: string,
): FilterOutcome {
  let headers = request;
  for (const step of steps) {
    switch (step.kind) {
      case 'headers':
        headers = changeHeaders(headers, step.changes);
        break;
      case 'rewrite': {
        const rewritten = rewriteRequest(headers, step.rewrite, prefix);
        if (rewritten === undefined) return { kind: 'answer', answer: BAD_PATH };
        headers = rewritten;
        break;
      }
      case 'redirect':
        return { kind: 'answer', answer: redirectAnswer(step.redirect, request, port, prefix) };
      case 'answer':
        return { kind: 'answer', answer: withoutBodyForHead(step.answer, request) };
      default:
        return unreachable(step);
    }
  }
  return { kind: 'forward', headers };
}

/** Does to a response what its rule says. @returns the same list when nothing changes. */
export function filterResponse({ responseChanges }: FilterChain, response: HeaderList): HeaderList {
  let headers = response;
  for (const changes of responseChanges) headers = changeHeaders(headers, changes);
  return headers;
}

function withoutBodyForHead(answer: FilterAnswer, request: HeaderList): FilterAnswer {
  return findHeader(request, ':method') === 'HEAD' ? { ...answer, body: NO_BODY } : answer;
}
