/** Values by key, made when they are asked for; of too many the one goes that was not asked for for the longest time. */
export class RecentlyUsed<Value extends object> {
  readonly #most: number;
  readonly #onGone: (value: Value) => void;
  /** The one that was used last is the last. */
  readonly #values = new Map<string, Value>();

  constructor(most: number, onGone: (value: Value) => void = () => undefined) {
    this.#most = most;
    this.#onGone = onGone;
  }

  get(key: string, make: () => Value): Value {
    const value = this.#values.get(key) ?? make();
    this.#values.delete(key);
    this.#values.set(key, value);
    const [oldest] = this.#values;
    if (this.#values.size > this.#most && oldest !== undefined) {
      this.#values.delete(oldest[0]);
      this.#onGone(oldest[1]);
    }
    return value;
  }

  clear(): void {
    for (const value of this.#values.values()) this.#onGone(value);
    this.#values.clear();
  }
}
