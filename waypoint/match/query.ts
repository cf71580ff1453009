/**
 * Reads the parameters of a query that somebody asks for; of several of one name the first counts, as Gateway API
 * recommends. Percent-encoding is undone (a character a byte); a plus is a plus. RFC 3986 section 2.1.
 *
 * @param path the target, whose query begins at `start`.
 * @param names what is asked for, with its place in `values`.
 * @param values filled in where a parameter is there; `undefined` before.
 */
export function readQuery(
  path: string,
  start: number,
  names: ReadonlyMap<string, number>,
  values: (string | undefined)[],
): void {
  let missing = names.size;
  for (let from = start; from < path.length && missing > 0; ) {
    const next = path.indexOf('&', from);
    const end = next < 0 ? path.length : next;
    let equals = from;
    while (equals < end && path.charCodeAt(equals) !== EQUALS) equals++;
    const slot = names.get(decodePercent(path.slice(from, equals)));
    if (slot !== undefined && values[slot] === undefined) {
      values[slot] = decodePercent(path.slice(Math.min(equals + 1, end), end));
      missing--;
    }
    from = end + 1;
  }
}

const EQUALS = 0x3d;

/** A `%` without two digits behind it stands for itself. */
function decodePercent(text: string): string {
  if (!text.includes('%')) return text;
  return text.replace(/%([0-9a-fA-F]{2})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
}
