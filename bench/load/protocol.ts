import type { WorkloadCertificate } from '../../mesh/model/certificate.ts';

/** Ports of the load server. */
export const ECHO_PORT = 9001;
/** Sends without end from the moment of the connection. */
export const SOURCE_PORT = 9002;
/** Takes whatever comes. */
export const SINK_PORT = 9003;
/** An HTTP server (nginx) beside it. */
export const HTTP_PORT = 9080;
/** The same server by HTTP/2 without TLS. */
export const HTTP2_PORT = 9081;
export const LOAD_PORTS: readonly number[] = [ECHO_PORT, SOURCE_PORT, SINK_PORT, HTTP_PORT];

type To = Readonly<{ host: string; port: number }>;

/** A request: `authority` is its Host. */
export type HttpTarget = To &
  Readonly<{ authority: string; path: string; headers?: Readonly<Record<string, string>> }>;

/** Between two tries of one worker; how long a try may take; how long all may take. */
type Tries = Readonly<{ pauseMs: number; tryMs: number; timeoutMs: number }>;

/** What a load client can be asked, a line of JSON each, and what it answers. Times in milliseconds. */
export type LoadOperations = {
  /** Streams that run at once; bytes of each between the end of the warm-up and the end. */
  bulk: {
    ask: To &
      Readonly<{
        direction: 'down' | 'up';
        streams: number;
        /** Further ones of which nothing is read. */
        stalled: number;
        warmMs: number;
        ms: number;
      }>;
    answer: Readonly<{ bytes: readonly number[]; ms: number }>;
  };
  /** Pings at a fixed rate, whatever comes back; latencies in microseconds from the time each was due. */
  pings: {
    ask: To & Readonly<{ connections: number; rate: number; count: number; bytes: number }>;
    answer: Latencies;
  };
  /**
   * Requests at a fixed rate, as pings; those that are not answered with 200 are errors. A gRPC call sends an empty
   * message, and has to end with status 0 too.
   */
  requests: {
    ask: To &
      Readonly<{
        version: 'http1' | 'http2';
        call?: 'get' | 'grpc';
        connections: number;
        rate: number;
        count: number;
        path: string;
      }>;
    answer: Latencies;
  };
  /** The next ping when the last is back, on one connection. */
  pingPong: { ask: To & Readonly<{ count: number; bytes: number }>; answer: Latencies };
  /** Connected, one byte there and back, closed; so many at once, again and again. */
  connections: {
    ask: To & Readonly<{ parallel: number; warmMs: number; ms: number }>;
    answer: Latencies & Readonly<{ perSecond: number }>;
  };
  /** Opens connections and keeps them, each after a byte there and back. */
  hold: { ask: To & Readonly<{ count: number }>; answer: Readonly<{ held: number }> };
  /** Ends what is held, and every try. */
  release: { ask: Readonly<Record<string, never>>; answer: Readonly<{ released: number }> };
  /** From inside each namespace, one short connection after another until `release`. */
  keepTrying: {
    ask: To & Readonly<{ namespaces: readonly string[]; pauseMs: number }>;
    answer: Readonly<{ started: number }>;
  };
  /** Requests at a fixed rate, whatever comes back; latencies count from when each was due. */
  httpLoad: {
    ask: Readonly<{
      targets: readonly HttpTarget[];
      /** Kept, one request at a time on each; 0: a new one for each request. */
      connections: number;
      rate: number;
      count: number;
    }>;
    answer: Latencies &
      Readonly<{
        /** Why the first of the errors was one. */
        firstError: string;
        /** Answers. */
        perSecond: number;
        p90Us: number;
        p999Us: number;
        /** See Histogram.buckets(). */
        histogram: readonly (readonly [us: number, count: number])[];
      }>;
  };
  /** One request; its status, or what went wrong. */
  httpGet: {
    ask: Readonly<{ target: HttpTarget; timeoutMs: number }>;
    answer: Readonly<{ status: string }>;
  };
  /** One request after another until the first answer 200; from a namespace by its path, else from here. */
  untilServed: {
    ask: Tries & Readonly<{ target: HttpTarget; namespace?: string | undefined }>;
    /** `servedAtMs`: since 1970. */
    answer: Readonly<{ servedAtMs: number; tries: number }>;
  };
  /** Requests to all targets in turn until none has been answered by 200 for so long. */
  untilRefused: {
    ask: Tries & Readonly<{ targets: readonly HttpTarget[]; parallel: number; quietMs: number }>;
    /** `lastServedAtMs`: since 1970, of the last 200. */
    answer: Readonly<{ lastServedAtMs: number; served: number }>;
  };
  /** The body of a page. */
  get: { ask: To & Readonly<{ path: string }>; answer: string };
  /** A certificate of the mesh's CA, with a node proxy's token. */
  certificate: {
    ask: Readonly<{ address: string; roots: string; token: string; identity: string }>;
    answer: WorkloadCertificate;
  };
  /** mTLS sessions with HTTP/2, each ended when the server has shown that it accepted the certificate. */
  handshakes: {
    ask: To &
      Readonly<{
        /** One session after another takes the next of them. */
        certificates: readonly WorkloadCertificate[];
        peers: readonly string[];
        /** Own addresses; one session after another begins at the next of them. */
        sources: readonly string[];
        groups: string;
        /** One in each session, which is refused and answered. */
        request: boolean;
        parallel: number;
        count: number;
      }>;
    answer: Readonly<{ sessions: number; ms: number; processorUs: number }>;
  };
  /** Handshakes in memory, both sides in one thread; milliseconds of one. */
  bareHandshakes: {
    ask: Readonly<{ certificate: WorkloadCertificate; groups: string; count: number }>;
    answer: Readonly<{ serverMs: number; clientMs: number }>;
  };
  /** Sessions that are kept, without a tunnel, until `release`. */
  holdSessions: {
    ask: To &
      Readonly<{
        certificate: WorkloadCertificate;
        peers: readonly string[];
        groups: string;
        count: number;
      }>;
    answer: Readonly<{ held: number }>;
  };
};

export type LoadOperation = keyof LoadOperations;

export type Latencies = Readonly<{
  count: number;
  errors: number;
  p50Us: number;
  p99Us: number;
  p999Us: number;
  maxUs: number;
}>;

export type LoadRequest = {
  [Op in LoadOperation]: Readonly<{ op: Op; ask: LoadOperations[Op]['ask'] }>;
}[LoadOperation];

export type LoadAnswer = Readonly<{ answer: unknown } | { error: string }>;
