import type { HeaderList } from '../net/h2/headers.ts';
import type { ServerExchange } from '../net/http/exchange.ts';
import type { Downstream } from './downstream.ts';
import { Forward } from './forward.ts';
import { HttpRequest } from './http-request.ts';
import { INTERNAL, METHOD_REFUSED, NO_ROUTE, NO_TARGET, UPGRADE_REFUSED } from './local-reply.ts';
import type { RequestParts, RequestSettings, Verdict } from './request-parts.ts';

/** One HTTP request, from its head to its end. Never rejects: every end goes into its record. */
export async function serveRequest(
  exchange: ServerExchange,
  received: HeaderList,
  endStream: boolean,
  downstream: Downstream,
  parts: RequestParts,
): Promise<void> {
  const request = new HttpRequest(exchange, received, endStream, downstream, parts);
  try {
    const reply = await takeSteps(request, parts);
    if (reply !== undefined) request.answer(reply);
  } catch (error) {
    parts.onFault(error);
    request.answer(INTERNAL);
  }
}

/** The steps in their order. Returns the response that one of them gives; without one the request is on its way. */
async function takeSteps(request: HttpRequest, parts: RequestParts): Promise<Verdict> {
  const unfit = checkMethod(request, parts.settings) ?? parts.normalise(request);
  if (unfit !== undefined) return unfit;

  const authorizing = parts.authorize(request);
  const denied = authorizing instanceof Promise ? await authorizing : authorizing;
  if (denied !== undefined) return denied;

  const counting = parts.limitRate(request);
  const limited = counting instanceof Promise ? await counting : counting;
  if (limited !== undefined) return limited;

  const rule = parts.findRule(request);
  if (rule === undefined) return NO_ROUTE;
  request.routeName = rule.name;

  const filtering = parts.filterRequest(request, rule);
  const answered = filtering instanceof Promise ? await filtering : filtering;
  if (answered !== undefined) return answered;

  const choice = parts.chooseBackend(request, rule);
  if (choice.kind === 'reply') return choice.reply;

  if (request.over) return undefined; // the client left while something was waited for
  parts.trace(request);
  new Forward(request, rule, choice.backend, parts).start();
  return undefined;
}

/** What no policy has to be asked about: how a request may ask at all. */
function checkMethod({ head }: HttpRequest, { upgrades }: RequestSettings): Verdict {
  if (head.authority === '') return NO_TARGET;
  if (head.method === 'TRACE') return METHOD_REFUSED;
  const isConnect = head.method === 'CONNECT';
  if (head.protocol !== '' && upgrades.has(head.protocol.toLowerCase())) return undefined;
  if (isConnect) return UPGRADE_REFUSED; // a waypoint is no forward proxy
  if (head.protocol === '') return undefined;
  if (head.protocol.toLowerCase() !== 'h2c') return UPGRADE_REFUSED;
  // HTTP/2 in the clear is never negotiated (attack H22); who offers it goes on with HTTP/1.1. RFC 9110 section 7.8.
  head.dropProtocol();
  return undefined;
}
