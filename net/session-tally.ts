/** Counts the TLS sessions of a thread, those whose handshake is under way among them. */
class SessionTally {
  open = 0;
  /** At the same time, since forget(). */
  most = 0;
  /** Since forget(). */
  ended = 0;

  begin(): void {
    this.open++;
    if (this.open > this.most) this.most = this.open;
  }

  end(): void {
    this.open--;
    this.ended++;
  }

  forget(): void {
    this.most = this.open;
    this.ended = 0;
  }
}

/** This thread's. */
export const sessionTally = new SessionTally();
