/** What can be in a roster. */
export interface Seated {
  /** Where it sits; begins as NOWHERE, and only its roster writes it. */
  seat: number;
}

export const NOWHERE = -1;

/** Free seats that are not worth moving anybody for. */
const SPARE_SEATS = 16;

/**
 * A set of what comes and goes all the time, in the order of coming. A Set or Map makes a new table after every few changes, and
 * V8 leads from each table to the one after it. Once one of them is old, and only a full collection looks at it, the short ones
 * keep all that came behind it, with what was in each: of connections, every one that there was. Here seats are used again, and
 * whoever has left is not kept. A member is in one roster at a time. See docs/decisions/seats.md.
 */
export class Roster<T extends Seated> {
  readonly #seats: (T | undefined)[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Whoever has come first of those who are here. */
  get oldest(): T | undefined {
    return this.#seats.find((member) => member !== undefined);
  }

  has(member: T): boolean {
    return this.#seats[member.seat] === member;
  }

  /** Idempotent. */
  add(member: T): void {
    if (this.has(member)) return;
    if (this.#seats.length >= 2 * this.#size + SPARE_SEATS) this.#closeUp();
    member.seat = this.#seats.length;
    this.#seats.push(member);
    this.#size++;
  }

  /** @returns whether it was here. */
  delete(member: T): boolean {
    if (!this.has(member)) return false;
    this.#seats[member.seat] = undefined;
    member.seat = NOWHERE;
    this.#size--;
    return true;
  }

  /** Those who are here now, whoever leaves meanwhile. */
  all(): T[] {
    return this.#seats.filter((member) => member !== undefined);
  }

  #closeUp(): void {
    let end = 0;
    for (const member of this.#seats) {
      if (member === undefined) continue;
      member.seat = end;
      this.#seats[end++] = member;
    }
    this.#seats.length = end;
  }
}
