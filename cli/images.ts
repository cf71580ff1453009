import type { ImageMap } from '../deploy/sandbox/api.ts';
import { usageError } from './command.ts';

/**
 * Reads `--image NAME=COMMAND` options: the local command for an image name, cut into words as a shell would, quotes
 * included; nothing in it is expanded.
 *
 * @throws {MeshError} ERR_USAGE for an empty name or command, or a quote without its pair.
 */
export function parseImages(options: readonly string[]): ImageMap {
  return Object.fromEntries(
    options.map((option) => {
      const at = option.indexOf('=');
      const command = at < 1 ? [] : splitWords(option.slice(at + 1));
      if (command.length === 0)
        throw usageError(
          `Cannot read --image ${option}: use NAME=COMMAND, such as web="nc -lk 80"`,
        );
      return [option.slice(0, at), command];
    }),
  );
}

/** Words between spaces; '...' and "..." hold theirs together, a backslash takes the next character as it is. */
export function splitWords(text: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = '';
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? '';
    if (quote !== '' && character === quote) {
      quote = '';
    } else if (character === '\\' && quote !== "'") {
      at++;
      word = (word ?? '') + (text[at] ?? '');
    } else if (quote === '' && (character === '"' || character === "'")) {
      quote = character;
      word ??= '';
    } else if (quote === '' && /\s/.test(character)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else {
      word = (word ?? '') + character;
    }
  }
  if (quote !== '') throw usageError(`Cannot read ${text}: a ${quote} has no pair`);
  if (word !== undefined) words.push(word);
  return words;
}
