import test from 'ava';
import { checkFiles } from '../../istiod-lite/check.ts';
import { formatProblem } from '../../mesh/kubernetes/problem.ts';

const NAMESPACES = `apiVersion: v1
kind: Namespace
metadata: { name: shop }
---
apiVersion: v1
kind: Namespace
metadata: { name: istio-system }
---
`;

const WEB = `apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec: { serviceAccountName: web, containers: [{ name: a, image: a }] }
---
apiVersion: v1
kind: ServiceAccount
metadata: { name: web, namespace: shop }
---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: shop }
spec: { selector: { app: web }, ports: [{ port: 80 }] }
---
`;

/** What is said of a text that is added to a mesh where all is well. */
function said(text: string, context = NAMESPACES + WEB): string[] {
  return checkFiles(new Map([['new.yaml', text]]), {
    context: new Map([['mesh.yaml', context]]),
  }).map(formatProblem);
}

test('checkFiles() has nothing to say of a mesh where all is well', (t) => {
  t.deepEqual(checkFiles(new Map([['mesh.yaml', NAMESPACES + WEB]])), []);
});

test('checkFiles() reports what the folder source would report', (t) => {
  t.deepEqual(said('apiVersion: v1\nkind: Service\nmetadata: { name: x }\nspec: { prts: [] }\n'), [
    'new.yaml:4:1: error: Service default/x: spec.ports: is required; list at least one port',
    'new.yaml:4:9: error: Service default/x: spec.prts: unknown field; did you mean ports?',
  ]);
});

test('checkFiles() reports an object that stands in two of the files', (t) => {
  const files = new Map([
    ['a.yaml', NAMESPACES],
    ['b.yaml', NAMESPACES],
  ]);
  t.deepEqual(checkFiles(files).map(formatProblem), [
    'b.yaml:1:1: error: Namespace shop: stands in several files; the one of a.yaml:1 is used; remove one of them',
    'b.yaml:5:1: error: Namespace istio-system: stands in several files; the one of a.yaml:5 is used; remove one of them',
  ]);
});

const cases: readonly (readonly [string, string, readonly RegExp[]])[] = [
  [
    'an account that does not exist',
    'apiVersion: v1\nkind: Pod\nmetadata: { name: p, namespace: shop }\nspec: { serviceAccountName: nobody, containers: [] }\n',
    [
      /^new.yaml:1:1: warning: Pod shop\/p: runs under service account nobody, which does not exist in shop/,
    ],
  ],
  [
    'a namespace that does not exist',
    'apiVersion: v1\nkind: ConfigMap\nmetadata: { name: p, namespace: nowhere }\n',
    [/is in namespace nowhere, which does not exist/],
  ],
  [
    'a Service that selects nothing',
    'apiVersion: v1\nkind: Service\nmetadata: { name: x, namespace: shop }\nspec: { selector: { app: wbe }, ports: [{ port: 80 }] }\n',
    [/selects nothing: no pod of shop has app=wbe/],
  ],
  [
    'an ExternalName Service',
    'apiVersion: v1\nkind: Service\nmetadata: { name: x, namespace: shop }\nspec: { type: ExternalName, externalName: a.b }\n',
    [/error: Service shop\/x: halo.dev\/Accepted: type ExternalName is not supported/],
  ],
  [
    'a waypoint that does not exist',
    'apiVersion: v1\nkind: Service\nmetadata: { name: x, namespace: shop, labels: { istio.io/use-waypoint: wp } }\nspec: { selector: { app: web }, ports: [{ port: 80 }] }\n',
    [
      /error: Service shop\/x: istio.io\/WaypointBound: waypoint shop\/wp does not exist; traffic is refused/,
      /calls to the addresses of its pods \(Deployment shop\/web\) go past it/,
    ],
  ],
  [
    'an ALLOW policy of HTTP attributes alone',
    'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: x, namespace: shop }\nspec: { rules: [{ to: [{ operation: { methods: [GET] } }] }] }\n',
    [
      /warning: .*ZtunnelAccepted: ztunnel does not see HTTP attributes \(methods\).*allows nothing/,
    ],
  ],
  [
    'a CUSTOM policy',
    'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: x, namespace: shop }\nspec: { action: CUSTOM, provider: { name: p }, rules: [{}] }\n',
    [/error: .*CUSTOM action; the policy is not enforced/],
  ],
  [
    'a policy that selects nothing',
    'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: x, namespace: shop }\nspec: { selector: { matchLabels: { app: wbe } }, rules: [{}] }\n',
    [/selects nothing: no workload of shop has app=wbe/],
  ],
  [
    'a policy for a Service without a waypoint',
    'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: x, namespace: shop }\nspec: { targetRefs: [{ kind: Service, group: "", name: web }], rules: [{}] }\n',
    [/error: .*has no effect: Service web has no waypoint/],
  ],
  [
    'a policy for a Service that does not exist',
    'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: x, namespace: shop }\nspec: { targetRefs: [{ kind: Service, group: "", name: wbe }], rules: [{}] }\n',
    [/error: .*targets Service wbe, which does not exist/],
  ],
  [
    'callers that do not exist',
    'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: x, namespace: shop }\nspec: { rules: [{ from: [{ source: { principals: [cluster.local/ns/shop/sa/wbe] } }, { source: { namespaces: [shpo] } }, { source: { serviceAccounts: [web] } }] }] }\n',
    [
      /names service account shop\/wbe, which does not exist/,
      /names namespace shpo, which does not exist/,
    ],
  ],
  [
    'a PeerAuthentication with a selector in the root namespace',
    'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: x, namespace: istio-system }\nspec: { selector: { matchLabels: { app: web } } }\n',
    [/has no effect: a selector in the root namespace is ignored/],
  ],
  [
    'a slice of no Service',
    'apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: { name: x, namespace: shop, labels: { kubernetes.io/service-name: wbe } }\naddressType: IPv4\n',
    [/belongs to no Service: there is no Service wbe/],
  ],
  [
    'a route without a parent',
    'apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: x, namespace: shop }\nspec: { rules: [] }\n',
    [/warning: .*has no effect: it names no parent/],
  ],
  [
    'a route of a Gateway',
    'apiVersion: gateway.networking.k8s.io/v1\nkind: TCPRoute\nmetadata: { name: x, namespace: shop }\nspec: { parentRefs: [{ name: ingress }], rules: [{ backendRefs: [{ name: web, port: 80 }] }] }\n',
    [/warning: .*has no effect for Gateway ingress/],
  ],
  [
    'a Service that wants a waypoint between gateways and its pods, and has none',
    'apiVersion: v1\nkind: Service\nmetadata: { name: x, namespace: shop, labels: { istio.io/ingress-use-waypoint: "true" } }\nspec: { selector: { app: web }, ports: [{ port: 80 }] }\n',
    [
      /warning: Service shop\/x: label istio.io\/ingress-use-waypoint has no effect: it uses no waypoint; add label istio.io\/use-waypoint/,
    ],
  ],
  [
    'endpoints in a network to which no gateway leads',
    'apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: { name: x, namespace: shop }\nspec: { address: 192.0.2.1, network: far }\n---\n' +
      'apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: { name: x, namespace: shop }\n' +
      'spec: { hosts: [x.example], resolution: STATIC, ports: [{ number: 80, name: http, protocol: HTTP }], endpoints: [{ address: 192.0.2.1, network: far }, { address: 192.0.2.2 }] }\n',
    [
      /warning: WorkloadEntry shop\/x: is not reached: it is in network far, and no gateway to that is known; leave/,
      /warning: ServiceEntry shop\/x: is not reached: it is in network far/,
    ],
  ],
  [
    'a route of a Service without a waypoint',
    'apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: { name: x, namespace: shop }\nspec: { parentRefs: [{ group: "", kind: Service, name: web }], rules: [{ backendRefs: [{ name: wbe, port: 80 }] }] }\n',
    [
      /error: .*ResolvedRefs: Service shop\/wbe does not exist/,
      /warning: .*ResolvedWaypoints: the route has no effect for Service shop\/web: no label/,
    ],
  ],
];
for (const [name, text, expected] of cases)
  test(`checkFiles() reports ${name}`, (t) => {
    const found = said(text);
    t.is(found.length, expected.length, found.join('\n'));
    expected.forEach((pattern, index) => {
      t.regex(found[index] ?? '', pattern);
    });
  });

test('checkFiles() takes a waypoint that is declared for one that will run', (t) => {
  const gateway =
    'apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: wp, namespace: shop, labels: { istio.io/waypoint-for: all } }\n' +
    'spec: { gatewayClassName: istio-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }\n';
  const namespace =
    'apiVersion: v1\nkind: Namespace\nmetadata: { name: shop, labels: { istio.io/use-waypoint: wp } }\n';
  t.deepEqual(
    checkFiles(new Map([['a.yaml', `${gateway}---\n${namespace}---\n${WEB}`]])).map(formatProblem),
    [],
  );
});
