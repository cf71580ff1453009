/** How much a peer may say; what is more is refused with the status that its Http1Fault names. */
export type Http1Limits = Readonly<{
  /** Start line and fields of one head, with all line ends. */
  headBytes: number;
  /** Fields of a head, and of trailers; at most MAX_FIELDS. */
  fields: number;
  fieldNameBytes: number;
  targetBytes: number;
  /** Extensions of all chunks of one message. */
  chunkExtensionBytes: number;
  trailerBytes: number;
  /** Names with `_`, which CGI and its kin take for those with `-` (attack M3). */
  allowUnderscores: boolean;
}>;

/** The most that Http1Limits.fields can be. */
export const MAX_FIELDS = 1000;

/** Longer than any registered method (UPDATEREDIRECTREF has 17). */
export const METHOD_BYTES = 32;

/** Digits of a content-length or, hexadecimal, of a chunk's size: both stay exact in a double. */
export const LENGTH_DIGITS = 15;
export const CHUNK_SIZE_DIGITS = 12;

export const DEFAULT_LIMITS: Http1Limits = {
  headBytes: 60 << 10, // as Envoy max_request_headers_kb
  fields: 100, // as Envoy max_headers_count
  fieldNameBytes: 256,
  targetBytes: 16 << 10, // RFC 9112 section 3 asks for 8000 at the least
  chunkExtensionBytes: 4 << 10, // CVE-2023-39326, CVE-2024-22019: extensions without end
  trailerBytes: 16 << 10,
  allowUnderscores: false,
};

/** What is read of further requests while one is being answered. */
export const PIPELINED_BYTES = 16 << 10;

/** Of a request's body that nobody wants any more, after the answer: what is more ends the connection. As nginx's buffers. */
export const DRAINED_BODY_BYTES = 64 << 10;

/** 30 s for the rest of a request that was answered early, and for a slow peer to read the last answer. */
export const DRAIN_MS = 30_000;

/**
 * 5 s for a last request on a connection that is to end: one that was on its way when the end was decided is served, and
 * its answer says that no other one will be. As Istio's terminationDrainDuration.
 */
export const LAST_REQUEST_MS = 5000;

/** 1 s for the peer to read why its connection ends. As HTTP/2's LINGER_MS. */
export const LINGER_MS = 1000;

/** Read and dropped after the end, so that no reset takes the last answer from a peer that still sends. */
export const LINGER_BYTES = 1 << 20;

/** 1xx responses that one request may have; more is a storm (attack S14). As HTTP/2's. */
export const INFORMATIONALS_PER_REQUEST = 32;

/**
 * 24 KiB: what is joined in one turn before it is written. A head and a body of up to 18 KiB go out in one system call, which
 * costs more than copying them. Writing each message at once, in the place of joining those of a turn, took 8 % more
 * processor time for 256 connections of small requests.
 */
export const STAGE_BYTES = 24 << 10;
export const JOINED_BODY_BYTES = 18 << 10;

/** 1.5 MiB; in a turn that needs more of them, what is staged in the others is written at once. */
export const KEPT_STAGES = 64;

/** 8 KiB: with nothing before it, a larger piece of a body is written from where it is. As HTTP/2's. */
export const JOINED_WRITE_BYTES = 8 << 10;
