/**
 * What follows from an immutable object alone, made once for each object: an equal one that takes its place is another.
 *
 * @param make may throw; then the next call makes it anew.
 */
export function perObject<Key extends object, Value>(
  make: (object: Key) => Value,
): (object: Key) => Value {
  const made = new WeakMap<Key, { value: Value }>();
  return (object) => {
    let entry = made.get(object);
    if (entry === undefined) {
      entry = { value: make(object) };
      made.set(object, entry);
    }
    return entry.value;
  };
}
