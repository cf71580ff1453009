/**
 * Authorization at L7 once more, as short as it can be said, to hold the real one against. It imports nothing of the
 * product, and reads policies as people write them.
 *
 * The rules: a CUSTOM policy that matches is asked first; a DENY that matches denies; without an ALLOW policy all is
 * allowed; an ALLOW that matches allows; the rest is denied. Dry-run and AUDIT are only noted. Of a header that comes
 * several times, an ALLOW needs every value to hold and anything else needs one. Without HTTP, an ALLOW rule that looks at
 * HTTP allows nothing, and in any other such fields are left out.
 */

type Lists = Readonly<Record<string, readonly string[] | undefined>>;
export type ModelWhen = Readonly<{
  key: string;
  values?: readonly string[];
  notValues?: readonly string[];
}>;
export type ModelRule = Readonly<{
  from?: readonly Readonly<{ source: Lists }>[];
  to?: readonly Readonly<{ operation: Lists }>[];
  when?: readonly ModelWhen[];
}>;
export type ModelPolicy = Readonly<{
  name: string;
  action: 'ALLOW' | 'DENY' | 'AUDIT' | 'CUSTOM';
  dryRun: boolean;
  rules: readonly ModelRule[];
}>;
export type ModelToken = Readonly<{
  iss: string;
  sub: string;
  aud: readonly string[];
  azp: string;
  claims: Readonly<Record<string, unknown>>;
}>;
export type ModelRequest = Readonly<{
  tcp: boolean;
  identity: Readonly<{ domain: string; namespace: string; account: string }> | undefined;
  ip: string;
  remote: string;
  port: number;
  host: string;
  hostPort: number;
  method: string;
  path: string;
  headers: readonly (readonly [string, string])[];
  token: ModelToken | undefined;
}>;
export type ModelOutcome = Readonly<{
  asked: readonly string[];
  verdict: 'allow' | 'deny';
  by: readonly string[];
  noted: readonly string[];
}>;

export function modelOutcome(
  policies: readonly ModelPolicy[],
  request: ModelRequest,
): ModelOutcome {
  const matching = policies.filter(({ rules, action }) =>
    rules.some((rule) => ruleHolds(rule, action, request)),
  );
  const names = (action: string, dryRun: boolean): string[] =>
    matching
      .filter((one) => one.action === action && one.dryRun === dryRun)
      .map(({ name }) => name);
  const asked = names('CUSTOM', false);
  const noted = [...names('AUDIT', false).map((name) => `AUDIT ${name}`)];
  noted.push(...names('DENY', true).map((name) => `DENY ${name}`));
  const denying = names('DENY', false);
  if (denying.length > 0) return { asked, verdict: 'deny', by: denying, noted: noted.sort() };
  noted.push(...names('ALLOW', true).map((name) => `ALLOW ${name}`));
  noted.sort();
  const hasAllow = policies.some(({ action, dryRun }) => action === 'ALLOW' && !dryRun);
  if (!hasAllow) return { asked, verdict: 'allow', by: [], noted };
  const by = names('ALLOW', false);
  return { asked, verdict: by.length > 0 ? 'allow' : 'deny', by, noted };
}

const HTTP_FIELDS = ['hosts', 'methods', 'paths', 'requestPrincipals'];

function ruleHolds(rule: ModelRule, action: string, request: ModelRequest): boolean {
  const parts = [
    ...(rule.from === undefined ? [] : [rule.from.map(({ source }) => conditionsOf(source))]),
    ...(rule.to === undefined ? [] : [rule.to.map(({ operation }) => conditionsOf(operation))]),
    ...(rule.when ?? []).map((when) => [[when]]),
  ];
  return parts.every((any) => any.some((all) => all.every((one) => holds(one, action, request))));
}

/** A source or operation as conditions, one for each field and its `not` twin. */
function conditionsOf(lists: Lists): ModelWhen[] {
  return Object.entries(lists).map(([field, list = []]) => {
    const negative = field.startsWith('not');
    const key = negative ? field.charAt(3).toLowerCase() + field.slice(4) : field;
    return negative ? { key, notValues: list } : { key, values: list };
  });
}

function holds(when: ModelWhen, action: string, request: ModelRequest): boolean {
  const { key, values = [], notValues = [] } = when;
  if (request.tcp && (HTTP_FIELDS.includes(key) || key.startsWith('request.')))
    return action !== 'ALLOW';
  const candidates = texts(key, request);
  const isPath = key === 'paths';
  const matches = (candidate: string, wanted: readonly string[]): boolean =>
    wanted.some((one) =>
      key.endsWith('.ip') || key.endsWith('pBlocks')
        ? contains(one, candidate)
        : isPath && one.includes('{')
          ? templateFits(one, candidate)
          : fits(key === 'hosts' ? one.toLowerCase() : one, candidate),
    );
  if (key.startsWith('request.headers[') && candidates.length > 1) {
    const quantify = action === 'ALLOW' ? 'every' : 'some';
    return (
      (values.length === 0 || candidates[quantify]((one) => matches(one, values))) &&
      (notValues.length === 0 || candidates[quantify]((one) => !matches(one, notValues)))
    );
  }
  return (
    (values.length === 0 || candidates.some((one) => matches(one, values))) &&
    !candidates.some((one) => matches(one, notValues))
  );
}

/** The texts that a key or field is about; none where the request does not have it. */
function texts(key: string, request: ModelRequest): readonly string[] {
  const { identity, token } = request;
  const present = (text: string | undefined): string[] =>
    text === undefined || text === '' ? [] : [text];
  switch (key) {
    case 'namespaces':
    case 'source.namespace':
      return present(identity?.namespace);
    case 'principals':
    case 'source.principal':
      return identity === undefined
        ? []
        : [`${identity.domain}/ns/${identity.namespace}/sa/${identity.account}`];
    case 'trustDomains':
    case 'source.trustDomain':
      return present(identity?.domain);
    case 'serviceAccounts':
    case 'source.serviceAccount':
      return identity === undefined ? [] : [`${identity.namespace}/${identity.account}`];
    case 'ipBlocks':
    case 'source.ip':
      return [request.ip];
    case 'remoteIpBlocks':
    case 'remote.ip':
      return [request.remote];
    case 'ports':
    case 'destination.port':
      return [String(request.port)];
    case 'hosts':
      return request.host === '' ? [] : [request.host, `${request.host}:${request.hostPort}`];
    case 'methods':
      return present(request.method);
    case 'paths':
      return [request.path];
    case 'requestPrincipals':
    case 'request.auth.principal':
      return token === undefined ? [] : [`${token.iss}/${token.sub}`];
    case 'request.auth.audiences':
      return token?.aud ?? [];
    case 'request.auth.presenter':
      return present(token?.azp);
  }
  const [kind = '', ...names] = key.split(/[[\]]+/).filter((part) => part !== '');
  if (kind === 'request.headers')
    return request.headers.filter(([name]) => name === names[0]).map(([, value]) => value);
  let at: unknown = token?.claims;
  for (const name of names)
    at = typeof at === 'object' && at !== null ? new Map(Object.entries(at)).get(name) : undefined;
  return (Array.isArray(at) ? at : [at]).filter((one) => typeof one === 'string');
}

function fits(wanted: string, text: string): boolean {
  if (wanted === '*') return text.length > 0;
  if (wanted.startsWith('*')) return text.slice(-(wanted.length - 1)) === wanted.slice(1);
  if (wanted.endsWith('*')) return text.slice(0, wanted.length - 1) === wanted.slice(0, -1);
  return text === wanted;
}

/** All ways to divide a path by a template are tried: slow, and plainly right. */
function templateFits(template: string, path: string): boolean {
  if (template === '') return path === '';
  if (template.startsWith('{*}')) {
    for (let end = 1; end <= path.length && path[end - 1] !== '/'; end++)
      if (templateFits(template.slice(3), path.slice(end))) return true;
    return false;
  }
  if (template.startsWith('{**}')) {
    for (let end = 0; end <= path.length; end++)
      if (templateFits(template.slice(4), path.slice(end))) return true;
    return false;
  }
  return path !== '' && template[0] === path[0] && templateFits(template.slice(1), path.slice(1));
}

/** Networks of whole bytes. */
function contains(network: string, address: string): boolean {
  const [base = '', bits = '32'] = network.split('/');
  const bytes = Number(bits) / 8;
  return base.split('.').slice(0, bytes).join('.') === address.split('.').slice(0, bytes).join('.');
}
