import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AppService, CallGraph, CallPath } from './call-graph.ts';

/** The namespace of everything that is measured. */
export const APP_NAMESPACE = 'app';
export const SERVICE_PORT = 80;
export const APP_PORT = 8080;
/** Of each service. */
export const REPLICAS = 2;

/** Pods beside those of services: the next two. */
export const SENDERS = 2;
/** Who sends the load, and may call the front. */
export const LOAD = 'load';
/** Who may call every service, until a change of the configuration says otherwise. */
export const PROBE = 'probe';
/** Pods of this account are started, one after another, while the rest runs; the load may call them. */
export const LATE = 'late';

export type AppPod = Readonly<{
  name: string;
  account: string;
  /** The Services that it is behind. */
  service?: string;
  node: string;
  /** The configuration of the server in its only container; none: nothing runs in it but what enters it. */
  nginx?: string;
  /** In the namespace, but not in the mesh, until somebody says so. */
  beside?: boolean;
}>;

export type AppEndpoint = Readonly<{ name: string; vip: string; account: string }>;

/** All Services by what they are called, with the account of their pods; `late` many wait for pods that are not there. */
export function appEndpoints(graph: CallGraph, late: number): readonly AppEndpoint[] {
  return [
    ...graph.services.map(({ name }, index) => ({ name, account: name, vip: vipOf(1, index) })),
    ...Array.from({ length: late }, (_, index) => ({
      ...{ name: lateName(index), account: LATE, vip: vipOf(2, index) },
    })),
  ];
}

export function lateName(index: number): string {
  return `${LATE}-${index}`;
}

/** Of the sandbox's network for Services; chosen here, so that all who are configured by hand know them. */
function vipOf(net: number, index: number): string {
  return `10.96.${net}.${index + 1}`;
}

export function hostOf(service: string): string {
  return `${service}.${APP_NAMESPACE}.svc.cluster.local`;
}

export function identityOf(account: string): string {
  return `spiffe://cluster.local/ns/${APP_NAMESPACE}/sa/${account}`;
}

/** Identities that may call a service. */
export function callersOf(service: Pick<AppService, 'layer' | 'callers'>): readonly string[] {
  return [...(service.layer === 'front' ? [LOAD] : service.callers), PROBE];
}

/** What a leaf answers with: 3 bytes, or a file. */
export type Body = 'small' | 'large';
const LARGE_BYTES = 16 << 10;

/** The path by which a request at the front asks to be passed on. */
export function requestPath([, middle, leaf]: CallPath, body: Body = 'small'): string {
  return `/${middle}/${leaf}/${body === 'large' ? body : ''}`;
}

/** The pods that are there from the beginning; replicas on nodes in turn. @param folder where their files are written. */
export function appPods(graph: CallGraph, nodes: readonly string[], folder: string): AppPod[] {
  const nodeOf = (index: number): string => nodes[index % nodes.length] ?? '';
  writeFileSync(join(folder, 'large'), 'x'.repeat(LARGE_BYTES), { mode: 0o644 });
  const endpoints = appEndpoints(graph, 0);
  const vips = new Map(endpoints.map(({ name, vip }) => [name, vip]));
  return [
    { name: LOAD, account: LOAD, node: nodeOf(0) },
    { name: PROBE, account: PROBE, node: nodeOf(1) },
    ...graph.services.flatMap((service) =>
      Array.from({ length: REPLICAS }, (_, replica) => {
        const name = `${service.name}-${replica}`;
        const nginx = writeServer(folder, name, service.calls, vips);
        return {
          ...{ name, account: service.name, service: service.name, node: nodeOf(replica), nginx },
        };
      }),
    ),
  ];
}

/** A pod that is started later. */
export function latePod(index: number, nodes: readonly string[], folder: string): AppPod {
  const name = lateName(index);
  return {
    ...{ name, account: LATE, service: name, node: nodes[index % nodes.length] ?? '' },
    nginx: writeServer(folder, name, [], new Map()),
  };
}

/** A pod that is there before it is taken into the mesh; of the probe's account, so that every service answers it then. */
export function besidePod(index: number, nodes: readonly string[]): AppPod {
  const node = nodes[index % nodes.length] ?? '';
  return { name: `beside-${index}`, account: PROBE, node, beside: true };
}

/** @returns the path of the configuration. */
function writeServer(
  folder: string,
  pod: string,
  calls: readonly string[],
  vips: ReadonlyMap<string, string>,
): string {
  const path = join(folder, `${pod}.conf`);
  writeFileSync(path, serverConfiguration(folder, pod, calls, vips), { mode: 0o644 });
  return path;
}

/**
 * nginx as a service of the application: a leaf answers at once, the others pass on what asks for a service that they
 * call. One small process a pod, in C: what it costs stays far below what a proxy costs, so the mesh shows.
 */
export function serverConfiguration(
  folder: string,
  pod: string,
  calls: readonly string[],
  vips: ReadonlyMap<string, string>,
): string {
  const keep = 'keepalive_requests 1000000000;\n  keepalive_timeout 1h;';
  const upstreams = calls.map(
    (name) => `
  upstream ${name} {
    server ${vips.get(name) ?? ''}:${SERVICE_PORT};
    keepalive 16;
    ${keep}
  }`,
  );
  const locations = calls.map(
    (name) => `
    location /${name}/ {
      proxy_pass http://${name}/;
      proxy_set_header Host ${hostOf(name)};
      proxy_set_header Connection "";
    }`,
  );
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${folder}/${pod}-${kind};`,
  );
  return `user root;
daemon off;
master_process off;
worker_processes 1;
pid ${folder}/${pod}.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off;
  ${keep}
  ${temporary.join('\n  ')}
  proxy_http_version 1.1;${upstreams.join('')}
  server {
    listen ${APP_PORT} backlog=4096;
    add_header x-pod ${pod};${locations.join('')}
    location = /large { default_type text/plain; root ${folder}; }
    location / { default_type text/plain; return 200 "ok\\n"; }
  }
}
`;
}
