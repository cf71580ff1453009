/** Begins something other than itself. */
const META = new Set('\\.+*?()|[]{}^$');
const REPEATS = new Set('*+?{');

/**
 * Characters of ASCII that every text begins with that a pattern matches as a whole; as many as are easily seen. Of a thousand
 * patterns only those are asked whose beginning the path has.
 *
 * @param pattern one that compiles.
 */
export function literalPrefix(pattern: string): string {
  if (hasAlternatives(pattern)) return '';
  const start = pattern.startsWith('^') ? 1 : 0;
  let end = start;
  while (end < pattern.length && isLiteral(pattern.charAt(end))) end++;
  // What is repeated may also not be there.
  if (REPEATS.has(pattern.charAt(end)) && end > start) end--;
  return pattern.slice(start, end);
}

function isLiteral(character: string): boolean {
  return character <= '~' && !META.has(character);
}

/** Whether there is a `|` outside of all groups: then nothing begins the whole. Where it is hard to say, there is. */
function hasAlternatives(pattern: string): boolean {
  if (!pattern.includes('|')) return false;
  if (pattern.includes('\\Q')) return true;
  let depth = 0;
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern.charAt(index);
    if (character === '\\') index++;
    else if (character === '[') index = endOfClass(pattern, index);
    else if (character === '(') depth++;
    else if (character === ')') depth--;
    else if (character === '|' && depth === 0) return true;
  }
  return false;
}

/** Where the bracket is that closes a class: the first one that is neither its first character, escaped, nor of a name. */
function endOfClass(pattern: string, open: number): number {
  let index = open + (pattern.charAt(open + 1) === '^' ? 2 : 1);
  if (pattern.charAt(index) === ']') index++;
  for (; index < pattern.length && pattern.charAt(index) !== ']'; index++) {
    if (pattern.charAt(index) === '\\') index++;
    else if (pattern.startsWith('[:', index)) {
      const end = pattern.indexOf(':]', index + 2);
      if (end >= 0) index = end + 1;
    }
  }
  return index;
}
