import test from 'ava';
import { setTimeout as delay } from 'node:timers/promises';
import { startMesh } from '../support/mesh.ts';
import { expectCalls, policyYaml, type Call } from '../support/mesh-policies.ts';
import { namespaceYaml, podYaml } from '../support/mesh-yaml.ts';

const mesh = startMesh(test, {
  yaml: [
    namespaceYaml('shop'),
    namespaceYaml('other'),
    namespaceYaml('plain', {}),
    podYaml('web', { node: 'node-2' }),
    podYaml('client', { node: 'node-1' }),
    podYaml('visitor', { namespace: 'other', node: 'node-1' }),
    podYaml('stranger', { namespace: 'plain', node: 'node-1' }),
  ].join(''),
});

test.before('the server listens', async () => {
  const web = await mesh.peer('web');
  await web.listen(80);
  await web.listen(90);
});

const CLIENT = 'cluster.local/ns/shop/sa/client';
const client: Call = { from: 'client', port: 80 };
const visitor: Call = { from: 'other/visitor', port: 80 };
const stranger: Call = { from: 'plain/stranger', port: 80 };
const clientElsewhere: Call = { from: 'client', port: 90 };

type Case = Readonly<{
  title: string;
  /** Each is a policy of its own. */
  specs: readonly Readonly<Record<string, unknown>>[];
  allowed: readonly Call[];
  refused: readonly Call[];
  reason: RegExp;
}>;

const NOT_ALLOWED = /policy rejection: .*none allowed/;
const DENIED = /policy rejection: explicitly denied by: shop\/rule-0/;
const WEB = { matchLabels: { app: 'web' } };

function from(source: object): object {
  return { from: [{ source }] };
}

function to(operation: object): object {
  return { to: [{ operation }] };
}

type PolicyCondition = Readonly<{ type: string; reason: string; message: string }>;

/** What the control plane says of a policy in its status, which is written soon after the policy holds. */
async function acceptance(name: string): Promise<PolicyCondition> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const { status = {} } = await mesh.object('AuthorizationPolicy', name);
    const { conditions = [] } = status as { conditions?: readonly PolicyCondition[] };
    const found = conditions.find(({ type }) => type === 'ZtunnelAccepted');
    if (found !== undefined) return found;
    await delay(100);
  }
  throw new Error(`policy ${name} has no status`);
}

const CASES: readonly Case[] = [
  {
    title: 'ALLOW by namespace lets in that namespace alone',
    specs: [{ action: 'ALLOW', rules: [from({ namespaces: ['other'] })] }],
    allowed: [visitor],
    refused: [client, stranger],
    reason: NOT_ALLOWED,
  },
  {
    title: 'DENY by notNamespaces refuses the others and whoever has no identity',
    specs: [{ action: 'DENY', rules: [from({ notNamespaces: ['shop'] })] }],
    allowed: [client],
    refused: [visitor, stranger],
    reason: DENIED,
  },
  {
    title: 'ALLOW by principal lets in that identity alone',
    specs: [{ selector: WEB, action: 'ALLOW', rules: [from({ principals: [CLIENT] })] }],
    allowed: [client],
    refused: [visitor, stranger],
    reason: NOT_ALLOWED,
  },
  {
    title: 'DENY by principal refuses that identity alone',
    specs: [{ selector: WEB, action: 'DENY', rules: [from({ principals: ['*/sa/client'] })] }],
    allowed: [visitor, stranger],
    refused: [client],
    reason: DENIED,
  },
  {
    title: 'ALLOW by notPrincipals lets in whoever is not named, also without an identity',
    specs: [{ action: 'ALLOW', rules: [from({ notPrincipals: [CLIENT] })] }],
    allowed: [visitor, stranger],
    refused: [client],
    reason: NOT_ALLOWED,
  },
  {
    title: 'ALLOW by any principal refuses plain text alone',
    specs: [{ action: 'ALLOW', rules: [from({ principals: ['*'] })] }],
    allowed: [client, visitor],
    refused: [stranger],
    reason: NOT_ALLOWED,
  },
  {
    title: 'DENY by port refuses that port alone',
    specs: [{ action: 'DENY', rules: [to({ ports: ['80'] })] }],
    allowed: [clientElsewhere],
    refused: [client, stranger],
    reason: DENIED,
  },
  {
    title: 'ALLOW by notPorts lets in the other ports alone',
    specs: [{ action: 'ALLOW', rules: [to({ notPorts: ['80'] })] }],
    allowed: [clientElsewhere],
    refused: [client, stranger],
    reason: NOT_ALLOWED,
  },
  {
    title: 'DENY is asked before ALLOW',
    specs: [
      { action: 'DENY', rules: [from({ principals: [CLIENT] })] },
      { action: 'ALLOW', rules: [{}] },
    ],
    allowed: [visitor, stranger],
    refused: [client],
    reason: DENIED,
  },
  {
    title: 'an ALLOW policy without rules lets in nobody',
    specs: [{ action: 'ALLOW' }],
    allowed: [],
    refused: [client, visitor, stranger],
    reason: NOT_ALLOWED,
  },
  {
    title: 'an ALLOW rule with HTTP fields lets in nobody at L4',
    specs: [
      {
        action: 'ALLOW',
        rules: [{ ...from({ principals: [CLIENT] }), ...to({ methods: ['GET'] }) }],
      },
    ],
    allowed: [],
    refused: [client, visitor],
    reason: NOT_ALLOWED,
  },
  {
    title: 'a DENY rule with HTTP fields refuses whatever its other fields match',
    specs: [
      {
        action: 'DENY',
        rules: [{ ...from({ principals: [CLIENT] }), ...to({ ports: ['80'], methods: ['GET'] }) }],
      },
    ],
    allowed: [visitor, clientElsewhere],
    refused: [client],
    reason: DENIED,
  },
  {
    title: 'a DENY rule with HTTP fields alone refuses every connection to the selected pods',
    specs: [{ selector: WEB, action: 'DENY', rules: [to({ paths: ['/admin'] })] }],
    allowed: [],
    refused: [client, visitor, clientElsewhere, stranger],
    reason: DENIED,
  },
  {
    title: 'a condition on the destination port restricts a rule',
    specs: [
      {
        action: 'ALLOW',
        rules: [
          {
            ...from({ namespaces: ['shop'] }),
            when: [{ key: 'destination.port', values: ['90'] }],
          },
        ],
      },
    ],
    allowed: [clientElsewhere],
    refused: [client, visitor],
    reason: NOT_ALLOWED,
  },
];

for (const { title, specs, allowed, refused, reason } of CASES)
  test.serial(title, async (t) => {
    const names = specs.map((_spec, index) => `rule-${index}`);
    await mesh.apply(...specs.map((spec, index) => policyYaml(names[index] ?? '', spec)));
    await expectCalls(t, mesh, { server: 'web', node: 'node-2', allowed, refused, reason });
    for (const name of names) await mesh.delete('AuthorizationPolicy', name);
  });

test.serial('ipBlocks and notIpBlocks go by the address of the pod that calls', async (t) => {
  const [ip, elsewhere] = [await mesh.ip('client'), await mesh.ip('other/visitor')];
  const check = async (
    spec: object,
    [allowed, refused]: readonly [readonly Call[], readonly Call[]],
    reason: RegExp,
  ): Promise<void> => {
    await mesh.apply(policyYaml('rule-0', { ...spec }));
    await expectCalls(t, mesh, { server: 'web', node: 'node-2', allowed, refused, reason });
  };
  const allow = { action: 'ALLOW', rules: [from({ ipBlocks: [`${ip}/32`] })] };
  await check(allow, [[client], [visitor, stranger]], NOT_ALLOWED);
  const deny = { action: 'DENY', rules: [from({ notIpBlocks: [`${ip}/32`, elsewhere] })] };
  await check(deny, [[client, visitor], [stranger]], DENIED);
  await mesh.delete('AuthorizationPolicy', 'rule-0');
});

test.serial('the status of a policy with HTTP fields says what of it holds', async (t) => {
  const names = ['deny-http', 'allow-http', 'allow-shop'];
  const methods = to({ methods: ['GET'] });
  await mesh.apply(
    policyYaml('deny-http', { action: 'DENY', rules: [methods] }),
    policyYaml('allow-http', {
      action: 'ALLOW',
      rules: [methods, from({ namespaces: ['other'] })],
    }),
    policyYaml('allow-shop', { action: 'ALLOW', rules: [from({ namespaces: ['shop'] })] }),
  );
  const told = await Promise.all(names.map(acceptance));
  t.like(told[0], { reason: 'UnsupportedValue' });
  t.regex(told[0]?.message ?? '', /\(methods\).*denies every connection/);
  t.like(told[1], { reason: 'UnsupportedValue' });
  t.regex(told[1]?.message ?? '', /\(methods\).*1 of 2 rules are left out/);
  t.like(told[2], { reason: 'Accepted' });
  for (const name of names) await mesh.delete('AuthorizationPolicy', name);
});

test.serial('a policy of the root namespace holds everywhere', async (t) => {
  const spec = { action: 'DENY', rules: [from({ namespaces: ['other'] })] };
  await mesh.apply(policyYaml('everywhere', spec, 'istio-system'));
  await expectCalls(t, mesh, {
    ...{ server: 'web', node: 'node-2', allowed: [client, stranger], refused: [visitor] },
    reason: /explicitly denied by: istio-system\/everywhere/,
  });
  await mesh.delete('AuthorizationPolicy', 'everywhere', 'istio-system');
});

test.serial('without policies everybody is let in', async (t) => {
  const allowed = [client, visitor, stranger, clientElsewhere];
  await expectCalls(t, mesh, { server: 'web', node: 'node-2', allowed, refused: [], reason: /./ });
});
