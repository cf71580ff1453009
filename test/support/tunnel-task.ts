/** What a client shows of itself: leaf first. */
export type TunnelCertificate = Readonly<{ privateKeyPem: string; chainPem: readonly string[] }>;

/** A client of a proxy's HBONE port. */
export type TunnelTask = Readonly<{
  host: string;
  port: number;
  /** None is shown unless there is one. */
  certificate?: TunnelCertificate;
  /** CONNECT unless told otherwise; `text` is said to the echo behind. */
  requests: readonly Readonly<{ method?: string; authority: string; text?: string }>[];
}>;

/** `status` 0: no answer, and `text` says what came instead. */
export type TunnelAnswer = Readonly<{ status: number; text: string }>;

export type TunnelReport = Readonly<{
  /** `open`: TLS and HTTP/2 stand; else what ended it. */
  session: string;
  /** Of the proxy's certificate, lower case. */
  serial: string;
  answers: readonly TunnelAnswer[];
}>;
