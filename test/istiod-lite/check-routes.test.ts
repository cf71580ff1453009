import test from 'ava';
import { checkFiles } from '../../istiod-lite/check.ts';
import { formatProblem } from '../../mesh/kubernetes/problem.ts';

const app = (name: string): string => `apiVersion: v1
kind: ServiceAccount
metadata: { name: ${name}, namespace: shop }
---
apiVersion: v1
kind: Pod
metadata: { name: ${name}, namespace: shop, labels: { app: ${name} } }
spec: { serviceAccountName: ${name}, containers: [{ name: a, image: a }] }
---
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: shop }
spec: { clusterIP: 10.96.0.1, selector: { app: ${name} }, ports: [{ name: http, port: 80 }] }
---
`;

/** Where all is well: every service has a waypoint. */
const MESH = `apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio.io/use-waypoint: wp } }
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: { name: wp, namespace: shop, labels: { istio.io/waypoint-for: all } }
spec: { gatewayClassName: istio-waypoint, listeners: [{ name: mesh, port: 15008, protocol: HBONE }] }
---
${app('web')}${app('api')}${app('db')}`;

const virtual = (name: string, rules: string): string => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name}, namespace: shop }
spec:
  hosts: [${name}]
  http:
${rules}---
`;

const http = (rules: string): string => `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: web, namespace: shop }
spec:
  parentRefs: [{ group: "", kind: Service, name: web }]
  rules:
${rules}---
`;

const rule = (fields: string): string =>
  `  - { ${fields}, route: [{ destination: { host: web } }] }\n`;
const to = 'backendRefs: [{ name: web, port: 80 }]';

/** Who may call what, which is how it is known who calls. */
const calls = (caller: string, called: string): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${caller}-${called}, namespace: shop }
spec:
  targetRefs: [{ group: "", kind: Service, name: ${called} }]
  rules: [{ from: [{ source: { principals: [cluster.local/ns/shop/sa/${caller}] } }] }]
---
`;

function said(text: string): string[] {
  return checkFiles(new Map([['new.yaml', text]]), {
    context: new Map([['mesh.yaml', MESH]]),
  }).map(formatProblem);
}

const says = test.macro({
  exec(t, text: string, ...expected: readonly RegExp[]) {
    const found = said(text);
    t.is(found.length, expected.length, found.join('\n'));
    expected.forEach((pattern, index) => {
      t.regex(found[index] ?? '', pattern);
    });
  },
  title: (given = '') => `checkFiles() ${given}`,
});

test(
  'has nothing to say of routes where all is well',
  says,
  virtual(
    'web',
    rule(
      'match: [{ uri: { prefix: /a } }], timeout: 3s, retries: { attempts: 2, perTryTimeout: 1s }',
    ) +
      rule('match: [{ uri: { prefix: /b }, method: { exact: GET } }, { uri: { prefix: /c } }]') +
      rule('match: [{ uri: { prefix: /b } }]') +
      rule('timeout: 1s'),
  ) +
    virtual('api', rule('retries: { attempts: 2 }, timeout: 500ms')) +
    calls('web', 'api'),
);
test(
  'warns of a rule that an earlier one leaves no request',
  says,
  virtual(
    'web',
    rule('name: wide, match: [{ uri: { prefix: /a } }, { headers: { x: { exact: a } } }]') +
      rule(
        'name: narrow, match: [{ uri: { exact: /a/b } }, { uri: { prefix: /x }, headers: { x: { exact: a }, y: {} } }]',
      ) +
      rule('name: alive, match: [{ uri: { exact: /a/b } }, { uri: { prefix: /x } }]') +
      rule('name: all') +
      rule('name: never'),
  ),
  /warning: .*rule narrow: never has a request: VirtualService\/shop\/web\/wide has them all/,
  /warning: .*rule never: never has a request: VirtualService\/shop\/web\/all has them all/,
);
test(
  'warns of an HTTPRoute rule that matches what another does, but not of one that is less exact',
  says,
  http(
    `  - { name: wide, matches: [{ path: { value: / } }], ${to} }
  - { name: exact, matches: [{ path: { value: /a } }], ${to} }
  - { name: again, matches: [{ path: { value: /a } }], ${to} }\n`,
  ),
  /warning: HTTPRoute shop\/web: rule again: never has a request: HTTPRoute\/shop\/web\/exact has/,
);
test(
  'warns of tries that do not fit into their request',
  says,
  virtual('web', rule('name: a, timeout: 1s, retries: { attempts: 2, perTryTimeout: 400ms }')),
  /warning: .*rule a: its 3 tries of 400ms each do not fit into the 1000ms of the whole request/,
);
test(
  'warns of a try that may take as long as its request',
  says,
  http(
    `  - { name: a, timeouts: { request: 1s, backendRequest: 1s }, retry: { attempts: 1 }, ${to} }\n`,
  ),
  /warning: .*rule a: a try may take 1000ms, and the whole request no more than 1000ms/,
);
test(
  'warns of a caller that waits less than what it calls',
  says,
  virtual('web', rule('name: outer, timeout: 1s')) +
    virtual('api', rule('name: inner, timeout: 5s')) +
    calls('web', 'api'),
  /VirtualService shop\/web: rule outer: waits 1000ms for a service that may wait 5000ms by VirtualService\/shop\/api\/inner/,
);
test(
  'warns of tries that multiply from hop to hop',
  says,
  virtual('web', rule('name: first, retries: { attempts: 2 }')) +
    virtual('api', rule('name: second, retries: { attempts: 2 }')) +
    virtual('db', rule('name: third, retries: { attempts: 1 }')) +
    calls('web', 'api') +
    calls('api', 'db'),
  /VirtualService shop\/db: rule third: one request becomes up to 18 on its way web\S+ -> api\S+ -> db\S+: every hop/,
);
test(
  'ends where services call each other in a circle',
  says,
  virtual('web', rule('name: a, retries: { attempts: 4 }')) +
    virtual('api', rule('name: b, retries: { attempts: 2 }')) +
    calls('web', 'api') +
    calls('api', 'web'),
  /VirtualService shop\/web: rule a: one request becomes up to 15 on its way api\S+ -> web/,
  /VirtualService shop\/api: rule b: one request becomes up to 15 on its way web\S+ -> api/,
);
test(
  'warns of ejection without a maximum',
  says,
  `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: web, namespace: shop }
spec:
  host: web
  trafficPolicy:
    outlierDetection: { maxEjectionPercent: 100 }
    portLevelSettings: [{ port: { number: 80 }, outlierDetection: { maxEjectionPercent: 99 } }]
  subsets: [{ name: v1, labels: { app: web }, trafficPolicy: { outlierDetection: { maxEjectionPercent: 100 } } }]
`,
  /warning: DestinationRule shop\/web: spec.trafficPolicy: ejects without a maximum/,
  /warning: DestinationRule shop\/web: subset v1: ejects without a maximum/,
);
test(
  'says what of a VirtualService has no effect',
  says,
  virtual('nowhere', rule('match: [{ uri: { prefix: / } }]')) +
    virtual('web', rule('match: [{ sourceLabels: { app: a } }]')),
  /warning: VirtualService shop\/nowhere: halo.dev\/Accepted: no service has the host nowhere.shop.svc.cluster.local/,
  /warning: VirtualService shop\/web: halo.dev\/Accepted: http\[0\]: match\[0\] is left out/,
);
