import { defineVerb, EXIT, namespaceOptions, outputOptions, sandboxOptions } from '../command.ts';
import { explainConnection } from '../explain-connection.ts';
import { formatExplanation } from '../explain-text.ts';
import { printResult } from '../output.ts';
import { Sandbox, sandboxName } from '../sandbox.ts';

export const explain = defineVerb({
  name: 'explain',
  group: 'Looking into it',
  summary: 'Tell what would become of a connection, and which policy decides',
  details: `Each proxy on the way is asked what it would do, and answers with the functions of its own data path on its own
state; nothing is sent. It ends with 0 when the connection would be allowed, with 1 when it would not.

SRC_POD is NAME, NAMESPACE/NAME, deploy/NAME or gateway/NAME. DST is a Service (NAME, NAME.NAMESPACE), a pod, or an IP address; :PORT
may be left out where there is only one.

With --method, --path or --header the waypoint on the way tells of such a request too: which policy and which rule decide, and the
backends and endpoints that it could go to. Authorizers are not asked, and tokens are not verified.

From a gateway the story is that of a client outside of the mesh: DST is the host that it asks for, with a port of the gateway, and
--client its address. The gateway tells which listener, policy, rule and backend that is, and the proxies behind it follow.

Examples:
  halo explain shop/customer web.shop:80
  halo explain shop/customer web.shop:80 --method POST --path /cart -H "x-user: alice"
  halo explain deploy/client 10.244.32.2:8080 -o json
  halo explain gateway/public shop.example.com:443 -n edge --path /cart --client 203.0.113.7`,
  arguments: [
    { name: 'SRC_POD', summary: 'who connects', complete: 'workloads' },
    { name: 'DST[:PORT]', summary: 'to what', complete: 'destinations' },
  ],
  options: {
    method: { type: 'text', placeholder: 'METHOD', summary: 'of a request (default GET)' },
    path: {
      type: 'text',
      placeholder: 'PATH',
      summary: 'of a request, with its query (default /)',
    },
    header: {
      type: 'list',
      short: 'H',
      placeholder: 'NAME:VALUE',
      summary: 'of a request',
    },
    client: {
      type: 'text',
      placeholder: 'ADDRESS',
      summary: "of a gateway's client (default 0.0.0.0, whom no policy means)",
    },
    ...namespaceOptions,
    ...outputOptions,
    ...sandboxOptions,
  },
  async run({ options, arguments: [source = '', destination = ''], terminal }) {
    const sandbox = new Sandbox(sandboxName(options.name));
    const { method, path, header, namespace, client } = options;
    const isRequest = method !== undefined || path !== undefined || header.length > 0;
    const request = { method: method ?? 'GET', path: path ?? '/', headers: header };
    const explanation = await explainConnection(
      ...([sandbox, source, destination, namespace] as const),
      { ...(isRequest && { request }), ...(client !== undefined && { client }) },
    );
    printResult(terminal, options.output, explanation, () =>
      formatExplanation(terminal, explanation),
    );
    return explanation.allowed ? EXIT.ok : EXIT.failed;
  },
});
