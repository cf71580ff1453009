/** A power of two, as all capacities. */
const INITIAL_CAPACITY = 8;

/**
 * The open streams of a connection by id. Each request comes and goes here, so it makes no objects: see Roster for what a Map would
 * keep. Ids of one side follow one another by two, so without gaps each has a place of its own.
 */
export class OpenStreams<T extends Readonly<{ id: number }>> {
  /** Open addressing with linear probing; at most half of it is taken. */
  #places: (T | undefined)[] = emptyPlaces<T>(INITIAL_CAPACITY);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): T | undefined {
    return this.#places[this.#find(id)];
  }

  /** Those that are open now, the lowest id first. */
  all(): T[] {
    const found = this.#places.filter((stream) => stream !== undefined);
    return found.sort((a, b) => a.id - b.id);
  }

  /** @param stream whose id is not here. */
  add(stream: T): void {
    if (this.#size * 2 >= this.#places.length) this.#grow();
    this.#places[this.#find(stream.id)] = stream;
    this.#size++;
  }

  delete(id: number): void {
    let free = this.#find(id);
    if (this.#places[free] === undefined) return;
    this.#size--;
    const last = this.#places.length - 1;
    // Whoever was put further on because of it, or of one that moves, closes up: no search may end at the gap.
    for (let at = (free + 1) & last; ; at = (at + 1) & last) {
      const stream = this.#places[at];
      if (stream === undefined) break;
      const home = (stream.id >>> 1) & last;
      if (((at - home) & last) < ((at - free) & last)) continue;
      this.#places[free] = stream;
      free = at;
    }
    this.#places[free] = undefined;
  }

  /** Where it is, or would be put. */
  #find(id: number): number {
    const last = this.#places.length - 1;
    let at = (id >>> 1) & last;
    for (;;) {
      const stream = this.#places[at];
      if (stream === undefined || stream.id === id) return at;
      at = (at + 1) & last;
    }
  }

  #grow(): void {
    const before = this.#places;
    this.#places = emptyPlaces(before.length * 2);
    for (const stream of before)
      if (stream !== undefined) this.#places[this.#find(stream.id)] = stream;
  }
}

function emptyPlaces<T>(capacity: number): (T | undefined)[] {
  return new Array<T | undefined>(capacity).fill(undefined);
}
