import { homedir } from 'node:os';
import { join } from 'node:path';
import { MeshError } from '../../base/errors.ts';

/**
 * The sandbox's control API: HTTP/1.1 with JSON over the unix socket `control.sock` of the state folder.
 *
 * | request | body or query -> answer |
 * |---|---|
 * | GET /v1/events | -> a line of JSON for each SandboxEvent: first what is true now, then what changes, until closed |
 * | GET /v1/status | -> SandboxStatus |
 * | GET /v1/wait?for=WaitGoal&timeoutMs=N | -> WaitResult, as soon as it is true or the time is over |
 * | GET /v1/objects?kind=&namespace=&name=&selector= | -> ObjectList |
 * | GET /v1/watch?kind=&kind=&node= | -> a line of JSON for each WatchEvent: all that exist, a BOOKMARK, then changes |
 * | POST /v1/apply | ApplyRequest -> ApplyResponse |
 * | POST /v1/delete | DeleteRequest -> DeleteResponse |
 * | POST /v1/label | LabelRequest -> KubernetesObject |
 * | POST /v1/scale | ScaleRequest -> KubernetesObject |
 * | POST /v1/restart | RestartRequest -> KubernetesObject |
 * | POST /v1/kill | KillRequest -> {}, when the processes have ended |
 * | GET /v1/images, POST /v1/images | ImageMap -> ImageMap |
 * | POST /v1/parts | PartRequest -> PartStatus |
 * | GET /v1/logs?... (LogsQuery) | -> text, streamed while `follow=true` |
 * | GET /v1/exec?... (ExecQuery), Upgrade: halo-exec | -> 101, then frames of exec-frames.ts both ways |
 * | GET /v1/connect?... (ConnectQuery), Upgrade: halo-bytes | -> 101 once connected, then the connection's bytes |
 * | POST /v1/stop | -> {}, after everything inside has ended; the supervisor then exits |
 *
 * A failure is a 4xx or 5xx with ErrorResponse.
 */
export const EXEC_PROTOCOL = 'halo-exec';
export const BYTES_PROTOCOL = 'halo-bytes';
export const DEFAULT_SANDBOX_NAME = 'default';

/** Every path of a sandbox; unix socket paths are at most 107 bytes (sun_path less its NUL). */
export type SandboxPaths = Readonly<{
  /** Mode 0700. */
  root: string;
  controlSocket: string;
  /** What `up` was asked for: SandboxSettings. */
  settings: string;
  /** SupervisorFile; its process is the one outside, whose death ends everything inside. */
  supervisor: string;
  /** The supervisor's own log. */
  supervisorLog: string;
  /** First CONFIG_DIR: mesh configuration that users applied (policies, gateways, routes, entries). */
  userObjects: string;
  /** Second CONFIG_DIR: core objects with status (Namespace, Node, Pod, Service, EndpointSlice, ServiceAccount). */
  coreObjects: string;
  /** Deployments, which only the sandbox's controllers read. */
  workloadObjects: string;
  /** STATUS_DIR of istiod-lite: status conditions as files. */
  statusObjects: string;
  /** Objects that istiod-lite asks to be run (waypoints). */
  generatedObjects: string;
  /** CA_DIR of istiod-lite. */
  ca: string;
  /** ROOT_CERT_FILE of istiod-lite. */
  rootCertificate: string;
  /** TOKEN_JWKS. */
  jwks: string;
  /** ADMIN_UDS of each part, and whatever else belongs to it. */
  parts: string;
  nodes: string;
  pods: string;
  logs: string;
}>;

export function sandboxPaths(root: string): SandboxPaths {
  return {
    root,
    controlSocket: join(root, 'control.sock'),
    settings: join(root, 'settings.json'),
    supervisor: join(root, 'supervisor.json'),
    supervisorLog: join(root, 'logs', 'supervisor.log'),
    userObjects: join(root, 'user'),
    coreObjects: join(root, 'objects'),
    workloadObjects: join(root, 'workloads'),
    statusObjects: join(root, 'status'),
    generatedObjects: join(root, 'generated'),
    ca: join(root, 'ca'),
    rootCertificate: join(root, 'root-cert.pem'),
    jwks: join(root, 'jwks.json'),
    parts: join(root, 'parts'),
    nodes: join(root, 'nodes'),
    pods: join(root, 'pods'),
    logs: join(root, 'logs'),
  };
}

/** The unix socket of a part's admin pages (ADMIN_UDS). */
export function partAdminSocket(paths: SandboxPaths, part: string): string {
  return join(paths.parts, part, 'admin.sock');
}

/** The unix socket of the admin pages of a program of the mesh that runs in a pod (ADMIN_UDS): of a waypoint. */
export function podAdminSocket(paths: SandboxPaths, podUid: string): string {
  return join(paths.pods, podUid, 'admin.sock');
}

/** Where sandboxes keep their state: `$XDG_STATE_HOME/halo`, else `~/.local/state/halo`. */
export function stateHome(env: NodeJS.ProcessEnv = process.env): string {
  const xdg = env['XDG_STATE_HOME'];
  const base = xdg !== undefined && xdg.startsWith('/') ? xdg : join(homedir(), '.local', 'state');
  return join(base, 'halo');
}

/** RFC 1123 label of at most 20 characters: it becomes part of a socket path. */
const SANDBOX_NAME = /^[a-z0-9](?:[a-z0-9-]{0,18}[a-z0-9])?$/;

/**
 * The state folder of a sandbox by name.
 *
 * @throws {MeshError} ERR_SANDBOX_NAME unless lower case letters, digits and dashes, at most 20.
 */
export function stateFolder(name: string, env: NodeJS.ProcessEnv = process.env): string {
  if (!SANDBOX_NAME.test(name)) {
    const found = JSON.stringify(name.slice(0, 64));
    const rule = 'use at most 20 lower case letters, digits and dashes';
    throw new MeshError(
      'ERR_SANDBOX_NAME',
      'local',
      `Cannot name a sandbox: found ${found}; ${rule}`,
    );
  }
  return join(stateHome(env), name);
}

/** What `up` asks for. */
export type SandboxSettings = Readonly<{
  name: string;
  /** 1 to 9; named node-1, node-2, ... */
  nodes: number;
  /** False: nodes, pods and Services alone, without control plane, node agents and proxies. */
  mesh: boolean;
  /** The kinds of part that run, where not all of the mesh is wanted. */
  onlyParts?: readonly PartKind[];
  /** DNS capture for pods that say nothing (AMBIENT_DNS_CAPTURE). */
  dnsCapture: boolean;
  images: ImageMap;
  /** Environment by part kind ('istiod-lite', 'ztunnel', 'node-agent') or part name, over what the sandbox sets. */
  partEnvironment: Readonly<Record<string, Readonly<Record<string, string>>>>;
}>;

/** Image name -> local command. A container's own `command` wins over it; its `args` follow either. */
export type ImageMap = Readonly<Record<string, readonly string[]>>;

export type SupervisorFile = Readonly<{
  /** Of the process outside (unshare); ending it ends the sandbox. */
  pid: number;
  /** Start time of that process in clock ticks (field 22 of /proc/PID/stat), so that a reused pid is not mistaken. */
  startTicks: string;
  startedAt: string;
}>;

export type PartKind = 'istiod-lite' | 'node-agent' | 'ztunnel' | 'cluster-dns' | 'waypoint';

/** starting: runs but is not ready; backing-off: ended, will be started again; stopped: on request. */
export type PartState = 'starting' | 'ready' | 'backing-off' | 'stopped';

export type PartStatus = Readonly<{
  /** 'istiod-lite', 'cluster-dns', 'ztunnel-node-1', 'node-agent-node-1'. */
  name: string;
  kind: PartKind;
  state: PartState;
  /** Of the sandbox's pid namespace. */
  pid?: number;
  /** The node it serves. */
  node?: string;
  restarts: number;
  /** Processes that were replaced and go on with the connections that they have. */
  draining?: number;
  /** Why it is not ready, or how it last ended. */
  detail?: string;
  /** ADMIN_UDS. */
  adminSocket: string;
  logFile: string;
}>;

export type NodeStatus = Readonly<{
  name: string;
  addresses: readonly string[];
  podCidrs: readonly string[];
  /** A path in the sandbox's own mount namespace. */
  netns: string;
  pods: number;
}>;

/** enabled: captured; pending: asked for, not complete; none: not asked for; waiting: the node agent has not answered. */
export type Enrolment = 'enabled' | 'pending' | 'none' | 'waiting';

export type PodStatusLine = Readonly<{
  namespace: string;
  name: string;
  uid: string;
  node: string;
  addresses: readonly string[];
  phase: 'Pending' | 'Running' | 'Succeeded' | 'Failed';
  ready: boolean;
  /** Ready containers of all, as '1/2'. */
  containersReady: string;
  restarts: number;
  enrolment: Enrolment;
  serviceAccount: string;
  /** Plain connections that were open when the pod was enrolled and still are. */
  openPlainConnections: number;
  startedAt: string;
  /** Why it does not run or is not ready. */
  detail?: string;
}>;

export type SandboxStatus = Readonly<{
  name: string;
  startedAt: string;
  /** Every part is ready. */
  ready: boolean;
  /** What SettledEvent means. */
  settled: boolean;
  /** What is still under way; empty when settled. */
  unsettled: readonly string[];
  parts: readonly PartStatus[];
  nodes: readonly NodeStatus[];
  pods: readonly PodStatusLine[];
  /** What the controllers could not do, such as an unknown image. */
  problems: readonly string[];
  paths: SandboxPaths;
  /** The pid, as the outside sees it, of a process whose namespaces are the sandbox's own (nsenter -t PID -n -m). */
  supervisorPid: number;
}>;

export type SandboxEvent =
  | Readonly<{ type: 'progress'; message: string }>
  | Readonly<{ type: 'part'; part: PartStatus }>
  | Readonly<{ type: 'problem'; message: string }>;

export type WaitGoal =
  /** Every part is ready. */
  | 'ready'
  /** Every pod is in the mesh or out of it, as asked. */
  | 'enrolled'
  /** Every pod runs and is ready or has ended, is enrolled or not as asked, and Services and objects say so. */
  | 'settled';
export type WaitResult = Readonly<{ done: boolean; unsettled: readonly string[] }>;

/** As Kubernetes has it; what the sandbox does not know is kept as it came. */
export type KubernetesObject = Readonly<{
  apiVersion: string;
  kind: string;
  metadata: Readonly<{
    name: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    generation?: number;
    creationTimestamp?: string;
    deletionTimestamp?: string;
    labels?: Readonly<Record<string, string>>;
    annotations?: Readonly<Record<string, string>>;
    ownerReferences?: readonly Readonly<Record<string, unknown>>[];
  }>;
  [field: string]: unknown;
}>;

export type ObjectReference = Readonly<{ kind: string; namespace?: string; name: string }>;

/** `selector` takes `a=b,c!=d,e`; kinds as `kubectl` takes them: Pod, pods, po, deploy, svc, ns, ... */
export type ObjectsQuery = Readonly<{
  kind: string;
  /** Absent: all namespaces. */
  namespace?: string;
  name?: string;
  selector?: string;
}>;

export type ObjectList = Readonly<{ items: readonly KubernetesObject[] }>;

/** As a Kubernetes watch. */
export type WatchEvent =
  | Readonly<{ type: 'ADDED' | 'MODIFIED' | 'DELETED'; object: KubernetesObject }>
  | Readonly<{ type: 'BOOKMARK' }>;

/** `text` is YAML with one document or more; `source` names it in errors. */
export type ApplyRequest = Readonly<{
  documents: readonly Readonly<{ source: string; text: string }>[];
  /** For objects that name none; default 'default'. */
  namespace?: string;
}>;

export type ApplyResponse = Readonly<{
  results: readonly Readonly<{
    object: ObjectReference;
    action: 'created' | 'configured' | 'unchanged';
  }>[];
}>;

/** Objects that do not exist are named in `missing`; nothing else fails for it. */
export type DeleteRequest = Readonly<{ objects: readonly ObjectReference[] }>;
export type DeleteResponse = Readonly<{
  deleted: readonly ObjectReference[];
  missing: readonly ObjectReference[];
}>;

export type LabelRequest = Readonly<{
  object: ObjectReference;
  /** Where given, the object must still be the one with this uid. */
  uid?: string;
  /** A null removes the key. */
  labels?: Readonly<Record<string, string | null>>;
  annotations?: Readonly<Record<string, string | null>>;
  /** End the plain connections that are open when the pods concerned are enrolled. */
  resetOpen?: boolean;
}>;

export type ScaleRequest = Readonly<{ namespace: string; name: string; replicas: number }>;

/** Of a Deployment: new pods first, an old one ends when a new one is ready. */
export type RestartRequest = Readonly<{ namespace: string; name: string }>;

/** Ends the containers of a pod as a crash would; its restart policy says whether they begin anew. */
export type KillRequest = Readonly<{ namespace: string; pod: string }>;

/**
 * `kill` ends a part without warning, and it is started again. `replace`, for ztunnels alone, starts another process that
 * takes its place when ready; the old one goes on with the connections that it has, until they end or its deadline comes.
 */
export type PartAction = 'stop' | 'start' | 'restart' | 'kill' | 'replace';
export type PartRequest = Readonly<{ name: string; action: PartAction }>;

/** Either a pod (and container: the first unless named) or a part. */
export type LogsQuery = Readonly<{
  namespace?: string;
  pod?: string;
  container?: string;
  part?: string;
  follow?: boolean;
  /** Lines from the end; all when absent. */
  tail?: number;
}>;

/** Runs `command` in the container's environment; `outside` names the namespace that is no pod instead of a pod. */
export type ExecQuery = Readonly<{
  namespace?: string;
  pod?: string;
  container?: string;
  outside?: boolean;
  /** Repeated in the query: command=ls&command=-l. */
  command: readonly string[];
}>;

/** `service`: a ready pod behind it; the connection is made inside the pod to its own loopback or pod address. */
export type ConnectQuery = Readonly<{
  namespace: string;
  pod?: string;
  service?: string;
  /** Of the pod, or of the service. */
  port: number;
}>;

export type ErrorResponse = Readonly<{ error: Readonly<{ code: string; message: string }> }>;
