import type { Http2ConnectionError } from './errors.ts';
import type { HeaderList } from './headers.ts';
import type { Http2Stream } from './stream.ts';

/** What a connection tells its owner. Calls come from the reactor or from inside close(); none may throw. */
export interface Http2ConnectionHandler {
  /** Server: a request in order. Its body goes to the sink that is set, now or later. */
  onRequest?(stream: Http2Stream, headers: HeaderList, endStream: boolean): void;
  /** The peer opens or takes no new streams; those up to `lastStreamId` go on. Can come more than once. */
  onGoaway?(code: number, lastStreamId: number, debug: string): void;
  /** Client: a stream has ended or the peer's settings have changed, so that there may be room for another one. */
  onAvailable?(): void;
  /** The connection is over, and told once; all its streams have heard of it. Without an error it ended in order. */
  onClose?(error?: Http2ConnectionError): void;
}
