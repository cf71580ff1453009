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
