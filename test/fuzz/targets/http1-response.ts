import { deepStrictEqual, ok } from 'node:assert';
import { endToEndFields } from '../../../net/http1/hop-by-hop.ts';
import { formatResponseHead } from '../../../net/http1/serialize.ts';
import { cut, readResponses } from '../../support/http1-messages.ts';
import { checkPrototypes, splitChoice, type Target } from '../oracle.ts';

const METHODS = ['GET', 'HEAD', 'POST', 'CONNECT'];

/** However a connection's bytes are cut, the same responses come out; one that is written again frames the same body. */
export const target: Target = {
  maxBytes: 64 << 10,
  check(input) {
    const [choice, bytes] = splitChoice(input);
    const method = METHODS[choice >> 6] ?? 'GET';
    const whole = readResponses([bytes], method);
    deepStrictEqual(readResponses(cut(bytes, 1 + (choice & 0x3f)), method), whole);
    for (const { head } of whole.messages) {
      if (head.status === 101) continue;
      const bodiless = head.status < 200 || head.status === 204 || method === 'CONNECT';
      const fields = endToEndFields(head.fields).flatMap((value, index, all) => {
        const isLength = all[index - (index % 2)] === 'content-length';
        return isLength && bodiless ? [] : [value];
      });
      const request = { method, minor: 1 } as const;
      const { text, body } = formatResponseHead(request, head.status, fields, head.body === 0);
      const again = readResponses([Buffer.from(text, 'latin1')], method);
      deepStrictEqual(again.fault, undefined);
      const copy = again.messages[0]?.head;
      ok(copy !== undefined && again.messages.length === 1);
      deepStrictEqual([copy.status, copy.body], [head.status, body]);
    }
    checkPrototypes();
  },
};
