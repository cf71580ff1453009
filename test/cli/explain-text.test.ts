import test from 'ava';
import { formatExplanation, type Explanation } from '../../cli/explain-text.ts';
import type { Terminal } from '../../cli/terminal.ts';

const terminal: Terminal = {
  out: () => undefined,
  note: () => undefined,
  interactive: false,
  colours: false,
  signal: new AbortController().signal,
};

const refused: Explanation = {
  source: 'shop/thief',
  destination: 'web.shop (10.96.0.100:80)',
  outbound: {
    direction: 'outbound',
    source: {
      workload: 'Kubernetes//Pod/shop/thief',
      ip: '10.244.16.4',
      identity: 'spiffe://cluster.local/ns/shop/sa/thief',
    },
    destination: '10.96.0.100:80',
    steps: [{ step: 'service', found: 'shop/web.shop.svc.cluster.local' }],
    outcome: {
      kind: 'hbone',
      reason: 'the endpoint takes HBONE',
      connectTo: '10.244.32.2:15008',
      authority: '10.244.32.2:8080',
      peers: ['spiffe://cluster.local/ns/shop/sa/web'],
    },
  },
  inbound: {
    direction: 'inbound',
    workload: 'Kubernetes//Pod/shop/web',
    peer: { ip: '10.244.16.4', identity: 'spiffe://cluster.local/ns/shop/sa/thief' },
    target: '10.244.32.2:8080',
    plaintext: false,
    steps: [],
    policies: [
      {
        policy: 'shop/deny-thief',
        scope: 'selector',
        action: 'DENY',
        dryRun: false,
        matchedRule: 0,
      },
      { policy: 'shop/allow-customer', scope: 'selector', action: 'ALLOW', dryRun: true },
    ],
    outcome: { kind: 'refuse', reason: 'denied by shop/deny-thief, rule 0', status: 401 },
    nearestAllow: { policy: 'shop/allow-customer', rule: 0, unmet: ['principal is customer'] },
  },
  allowed: false,
  verdict: 'Refused by the ztunnel of node-2: denied by shop/deny-thief, rule 0',
};

test('formatExplanation() tells each hop, its decision, and the nearest rule that would allow it', (t) => {
  t.is(
    formatExplanation(terminal, refused),
    `shop/thief -> web.shop (10.96.0.100:80)

Out of shop/thief
  identity     spiffe://cluster.local/ns/shop/sa/thief
  service      shop/web.shop.svc.cluster.local
  connects to  10.244.32.2:15008
  CONNECT      10.244.32.2:8080
  accepts      spiffe://cluster.local/ns/shop/sa/web
  => hbone: the endpoint takes HBONE

Into shop/web
  from      10.244.16.4
  identity  spiffe://cluster.local/ns/shop/sa/thief
  target    10.244.32.2:8080

  POLICY               SCOPE     ACTION           RESULT
  shop/deny-thief      selector  DENY             rule 0 matches
  shop/allow-customer  selector  ALLOW (dry run)  no rule matches

  => refuse (status 401): denied by shop/deny-thief, rule 0
  nearest rule that would allow it: shop/allow-customer, rule 0; unmet: principal is customer

Refused by the ztunnel of node-2: denied by shop/deny-thief, rule 0
`,
  );
});

test('formatExplanation() shows control characters of names as their numbers', (t) => {
  const text = formatExplanation(terminal, {
    source: 'a\u001b[31m',
    destination: 'b',
    allowed: true,
    verdict: 'c\r',
  });
  t.is(text, 'a\\u001b[31m -> b\n\nc\\u000d\n');
});
