/**
 * What a test says to the scripted peers in the pods of a mesh, and what they answer: a line of JSON each way for each
 * request, over a unix socket (whose name means the same in every network namespace).
 */

import type { LoadReport, LoadTask } from './tagged-load.ts';
import type { ServerReport } from './tagged-server.ts';

/** A connection or listener as the peer knows it; text such as `10.244.16.2:41938`. */
export type PeerConnection = Readonly<{ handle: number; local: string; remote: string }>;

/** `end`: in order; else a code such as ECONNRESET. */
export type Ending = string;

/** What a bulk transfer was, on either side: equal sums mean equal bytes in the same order. */
export type Transfer = Readonly<{ bytes: number; sha256: string }>;

/** How a listener treats connections: `queue` leaves each to `accept`, the others serve it themselves. */
export type ListenMode = 'queue' | 'echo' | 'drop';

export type PeerOperations = {
  /** `greeting` is sent first on each connection. Listens on IPv4 and IPv6 unless `host` says which. */
  listen: {
    ask: { port: number; host?: string; mode: ListenMode; greeting?: string };
    answer: { port: number };
  };
  /** Refuses new connections from now on; open ones stay. */
  unlisten: { ask: { port: number }; answer: object };
  /** The next connection of a `queue` listener. */
  accept: { ask: { port: number }; answer: PeerConnection };
  connect: {
    ask: { host: string; port: number; from?: string; family?: 4 | 6 };
    answer: PeerConnection;
  };
  write: { ask: { handle: number; text: string }; answer: object };
  /** Waits for that many bytes, or for the end; what comes later stays in the socket. */
  read: { ask: { handle: number; bytes: number }; answer: { text: string; ended?: Ending } };
  /** Half-closes: the other direction stays open. */
  end: { ask: { handle: number }; answer: object };
  reset: { ask: { handle: number }; answer: object };
  /** Drops what comes and waits for the end. */
  ended: { ask: { handle: number }; answer: { how: Ending; text: string } };
  /** Sends that many random bytes, each MiB numbered. */
  send: { ask: { handle: number; bytes: number }; answer: Transfer };
  /** Takes that many bytes, or all up to the end. */
  receive: { ask: { handle: number; bytes: number }; answer: Transfer & { ended?: Ending } };
  /** Opens connections at once, each of which says its own text to an echo; who has no answer in time has failed. */
  openMany: {
    ask: { host: string; port: number; count: number; withinMs?: number };
    answer: { group: number; echoed: number; failures: readonly string[] };
  };
  /** All of the group say another text at once; how many got it back. */
  echoMany: { ask: { group: number }; answer: { echoed: number; failures: readonly string[] } };
  /** Ends them in order and waits for the other side's end. */
  endMany: { ask: { group: number }; answer: { ended: number } };
  /** Resets them all. */
  resetMany: { ask: { group: number }; answer: object };
  /** Answers each datagram with `<address>|<text>`: whom it came from, and what it said. */
  udpEcho: { ask: { port: number }; answer: object };
  /** One datagram and its answer; `from` is who answered. */
  udpAsk: {
    ask: { host: string; port: number; text: string };
    answer: { text: string; from: string };
  };
  /** Sends one datagram and does not wait. */
  udpSend: { ask: { host: string; port: number; text: string }; answer: object };
  /** Its process, as the sandbox numbers it. */
  self: { ask: object; answer: { pid: number } };
  /** Serves tagged connections as `name`; whoever is in `refused` must never get there. */
  serveTagged: {
    ask: {
      port: number;
      name: string;
      refused: readonly string[];
      /** Addresses of who stands between; each caller comes under its own otherwise. */
      callers?: readonly string[];
      /** Where the same is served by HTTP. */
      httpPort?: number;
    };
    answer: object;
  };
  /** Carries each connection of a port on to another place, half-closes and resets too, as an application would. */
  forward: { ask: { port: number; host: string; toPort: number }; answer: object };
  /** What its servers of tagged connections have seen since the last time. */
  takeServed: { ask: object; answer: ServerReport };
  /** Begins a load of tagged connections, in the name `source`. */
  load: { ask: { source: string; task: LoadTask }; answer: object };
  /** What a load has met since the last time. */
  takeLoad: { ask: { name: string }; answer: LoadReport };
  /** What a load's connections hung from is over. */
  resumeLoad: { ask: { name: string }; answer: object };
  /** Ends a load; its last connections are cut off after `graceMs`. */
  stopLoad: { ask: { name: string; graceMs: number }; answer: LoadReport };
  /** What the system's resolver says, as programs ask it. */
  lookup: { ask: { name: string; family?: 4 | 6 }; answer: { addresses: readonly string[] } };
};

export type PeerOperation = keyof PeerOperations;

export type PeerRequest = Readonly<{ id: number; op: PeerOperation; ask: unknown }>;

export type PeerLine =
  /** First of all: `<namespace>/<pod>`. */
  | Readonly<{ hello: string }>
  | Readonly<{ id: number; answer: unknown }>
  | Readonly<{ id: number; error: Readonly<{ code: string; message: string }> }>;
