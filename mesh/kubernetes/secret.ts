import type { ObjectBase } from './object.ts';
import { dictionary, fields, text, type Decoded, type Schema } from './schema.ts';

/** Base64, which a line break may stand in. */
const BASE64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;

/** A text of which no complaint shows anything. */
function hidden(isEncoded: boolean): Schema<string> {
  return {
    absent: '',
    required: false,
    decode: (value, path, report) => {
      if (typeof value !== 'string') report.error(path, 'expected text');
      else if (!isEncoded) return value;
      else if (BASE64.test(value)) return Buffer.from(value, 'base64').toString('utf8');
      else report.error(path, 'expected base64');
      return '';
    },
  };
}

export const secretSchema = fields(
  { type: text(), data: dictionary(hidden(true)), stringData: dictionary(hidden(false)) },
  'ignore',
);

/** Its values go into no log, dump, status or error; nor does `raw`. */
export type Secret = ObjectBase & Readonly<{ kind: 'Secret' }> & Decoded<typeof secretSchema>;

/** The first of these keys that the Secret has a value for. */
export function secretValue(
  { data, stringData }: Pick<Secret, 'data' | 'stringData'>,
  ...keys: readonly string[]
): string | undefined {
  for (const key of keys) {
    const value = stringData.get(key) ?? data.get(key);
    if (value !== undefined && value !== '') return value;
  }
  return undefined;
}
