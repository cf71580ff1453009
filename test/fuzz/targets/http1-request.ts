import { deepStrictEqual, ok } from 'node:assert';
import { findHeader } from '../../../net/h2/headers.ts';
import { formatRequestHead } from '../../../net/http1/serialize.ts';
import { cut, readRequests } from '../../support/http1-messages.ts';
import { endToEndFields } from '../../../net/http1/hop-by-hop.ts';
import { checkPrototypes, splitChoice, type Target } from '../oracle.ts';

/** However a connection's bytes are cut, the same requests come out; one that is written again is read as it was. */
export const target: Target = {
  maxBytes: 64 << 10,
  check(input) {
    const [choice, bytes] = splitChoice(input);
    const whole = readRequests([bytes]);
    deepStrictEqual(readRequests(cut(bytes, 1 + (choice & 0x7f))), whole);
    for (const { head } of whole.messages) {
      if (head.authority === '' || head.upgrade !== '') continue;
      const rest = endToEndFields(head.fields);
      const named = findHeader(rest, 'host') !== undefined;
      const fields = named ? rest : ['host', head.authority, ...rest];
      const path = head.target.form === 'authority' ? head.authority : head.target.path;
      const { text, body } = formatRequestHead(head.method, path, fields, head.body === 0);
      const again = readRequests([Buffer.from(text, 'latin1')]);
      deepStrictEqual(again.fault, undefined);
      const copy = again.messages[0]?.head;
      ok(copy !== undefined && again.messages.length === 1);
      deepStrictEqual(copy.body, body);
      deepStrictEqual([copy.method, copy.authority], [head.method, head.authority]);
      deepStrictEqual(copy.target.path, head.target.path);
      deepStrictEqual(new Set(endToEndFields(fields)).difference(new Set(copy.fields)).size, 0);
    }
    checkPrototypes();
  },
};
