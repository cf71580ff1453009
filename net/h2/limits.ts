/** Every limit of this folder, each with its source. What is not a protocol constant is a default of Http2Options. */

/** Largest stream id, window and window increment. RFC 9113 sections 5.1.1 and 6.9. */
export const MAX_31_BITS = 0x7fff_ffff;

/** Window of a stream and of the connection until SETTINGS and WINDOW_UPDATE say otherwise. RFC 9113 section 6.9.2. */
export const INITIAL_WINDOW_BYTES = 65_535;

/** Bounds of SETTINGS_MAX_FRAME_SIZE. RFC 9113 section 6.5.2. */
export const MIN_FRAME_BYTES = 16_384;
export const MAX_FRAME_BYTES = 0xff_ffff;

/** Table size before SETTINGS_HEADER_TABLE_SIZE. RFC 9113 section 6.5.2. */
export const INITIAL_HEADER_TABLE_BYTES = 4096;

/** What a table entry and a listed field count beside their text. RFC 7541 section 4.1, RFC 9113 section 6.5.2. */
export const FIELD_OVERHEAD_BYTES = 32;

/**
 * 256 KiB, or less where windows are set to less: what a stream may send before its reader has taken anything, and so
 * what a reader that never reads can have us hold (CVE-2019-9511 and -9517).
 */
export const START_WINDOW_BYTES = 256 << 10;

/** 4 MiB, as istio/ztunnel HTTP2_STREAM_WINDOW_SIZE: what the window of a stream whose reader keeps up grows to. */
export const STREAM_WINDOW_BYTES = 4 << 20;

/** 16 MiB, as istio/ztunnel HTTP2_CONNECTION_WINDOW_SIZE: four stream windows, so that one stalled stream stops no other. */
export const CONNECTION_WINDOW_BYTES = 16 << 20;

/** 1 MiB, as istio/ztunnel HTTP2_FRAME_SIZE: the largest frame payload that we let the peer send. */
export const RECEIVED_FRAME_BYTES = 1 << 20;

/**
 * 512 KiB with the frame's header, which fills 32 TLS records to the last byte: the largest DATA payload that we send,
 * however large the peer allows. Each frame is one write here and one at the peer's socket towards its app. See
 * docs/decisions/large-steps.md.
 */
export const SENT_FRAME_BYTES = (512 << 10) - 9;

/** Decoded size of a header list, with 32 bytes a field. istio/ztunnel: 16 KiB at the client, 64 KiB at the server. */
export const CLIENT_HEADER_LIST_BYTES = 16 << 10;
export const SERVER_HEADER_LIST_BYTES = 64 << 10;

/** Longest encoded header block; one that is longer cannot decode to a list within the limits above. */
export const HEADER_BLOCK_BYTES = 64 << 10;

/** CONTINUATION frames that one header block may have (CVE-2024-27919 and its kin: endless ones). */
export const CONTINUATIONS_PER_BLOCK = 8;

/** Header lists over the limit that a connection survives; the next one ends it (CVE-2016-6581, the HPACK bomb). */
export const OVERSIZED_LISTS_PER_CONNECTION = 3;

/** 1xx responses that one request may have; more is a storm that forwards badly (attack S14). */
export const INFORMATIONALS_PER_STREAM = 32;

/** 200, as istio/ztunnel: streams that a server lets one connection have at a time. */
export const SERVER_STREAMS = 200;

/** 100, as istio/ztunnel POOL_MAX_STREAMS_PER_CONNECTION: streams that a client opens at most, if the server allows them. */
export const CLIENT_STREAMS = 100;

/** Entries in one SETTINGS frame. The RFC defines six, and its extensions three. */
export const SETTINGS_PER_FRAME = 32;

/** Debug text that is kept of a GOAWAY; what is beyond is skipped unread. */
export const GOAWAY_DEBUG_BYTES = 256;

/**
 * 64 MiB: what the receive queues of one connection's streams hold together before connection-level credit is withheld.
 * With the connection window on top, that is all the memory that a connection whose readers have stopped can take.
 * Windows grow only as long as those of all streams together stay within it, so that readers that stall never keep
 * credit from the others.
 */
export const RECEIVE_QUEUES_BYTES = 64 << 20;

/** 8 KiB: a DATA payload up to this size is copied and joined with others; a larger one is written in place. */
export const JOINED_WRITE_BYTES = 8 << 10;

/** Streams of one second that ended before we answered, by the peer's reset or by ours (CVE-2023-44487, CVE-2025-8671). */
export const UNANSWERED_RESETS_PER_SECOND = 200;

/**
 * PING frames of one second that ask for an answer (CVE-2019-9512): a flood ends within a thousand frames. Answers that
 * nobody reads are bounded by the outbox.
 */
export const PINGS_PER_SECOND = 900;

/** SETTINGS frames of one second (CVE-2019-9515). */
export const SETTINGS_PER_SECOND = 50;

/** DATA of one second without payload and without END_STREAM (CVE-2019-9518). */
export const EMPTY_FRAMES_PER_SECOND = 500;

/** PRIORITY frames of one second (CVE-2019-9513); old clients send a few for each stream. */
export const PRIORITIES_PER_SECOND = 900;

/** Frames of one second of unknown types, or for streams that are gone: legal, of no use. */
export const STRAY_FRAMES_PER_SECOND = 900;

/** WINDOW_UPDATE frames since the last DATA that we sent or HEADERS that we got: more is work without a purpose. */
export const WINDOW_UPDATES_WITHOUT_DATA = 4096;

/** 10 s without input, then a PING. istio/ztunnel, keepalive of HBONE sessions. */
export const KEEPALIVE_IDLE_MS = 10_000;

/** 20 s without an answer to it: the connection is dead. istio/ztunnel, keepalive of HBONE sessions. */
export const KEEPALIVE_TIMEOUT_MS = 20_000;

/** 10 s for the peer to begin and to acknowledge our SETTINGS: twice what nghttp2's programs give. */
export const SETTINGS_TIMEOUT_MS = 10_000;

/** 1 s for the peer to read our GOAWAY and to end its side before the transport is reset under it. */
export const LINGER_MS = 1000;

/** 30 s for a slow peer to read the last answers after an end in order: a reset would take them from under it. */
export const DRAINED_LINGER_MS = 30_000;

/** Streams whose end by the peer is remembered, to tell a late frame from a forbidden one. */
export const REMEMBERED_ENDS = 64;

/** A stream window of 4 MiB in frames of 1 KiB, and some for the other kinds: what can be under way on a stream. */
export const FRAMES_UNDER_WAY = 4096 + 64;
/** However many streams we reset; a frame of no use costs us less than it costs its sender. */
export const MAX_EXCUSED_FRAMES = 1 << 20;
