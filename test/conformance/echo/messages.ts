/** Names and values in the order in which they came or go; a name may be there more than once. */
export type Fields = readonly (readonly [name: string, value: string])[];

/** What the server of an echo pod says of a request, as it arrived there. */
export type Echo = Readonly<{
  protocol: 'HTTP' | 'HTTPS' | 'H2C' | 'gRPC' | 'TCP' | 'UDP';
  pod: string;
  namespace: string;
  /** With the query; of gRPC the full name of the method. */
  path: string;
  method: string;
  host: string;
  headers: Fields;
}>;

/** What the client of an echo pod is to send. */
export type EchoRequest = Readonly<{
  /** `http://`, `https://`, `ws://`, `grpc://host:port`, `tcp://host:port` or `udp://host:port`; in the query of HTTP: `delay` (ms), `responseCode`, and of one that fails at first, `uuid`, `succeedAfter` (tries) and `reset`. */
  url: string;
  method?: string;
  /** A `host` among them stands in for that of the URL. */
  headers?: Fields;
  /** So often, over a few connections that are kept; once, over one of its own, unless told. */
  count?: number;
}>;

export type EchoAnswer = Readonly<{
  /** 0 when none came. */
  status: number;
  headers: Fields;
  /** Absent when something on the way has answered. */
  echo?: Echo;
  /** How long it took, in milliseconds. */
  tookMs?: number;
  /** Of gRPC alone. */
  grpcStatus?: number;
  /** What else there is to say: why no answer came, or what was said instead of an echo. */
  text?: string;
}>;

/** The method that the gRPC servers have; its messages are bytes that say JSON. */
export const GRPC_METHOD = '/proto.EchoTestService/Echo';
/** Those that gRPC servers have beside it; a URL with a path calls the method of that name. */
export const OTHER_GRPC_METHODS = ['EchoTwo', 'EchoThree'] as const;
