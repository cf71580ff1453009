import test from 'ava';
import { findCookie } from '../../waypoint/cookie.ts';

test('findCookie() finds whole names only', (t) => {
  t.is(findCookie(['cookie', 'xab=1; ab=2; abc=3'], 'ab'), '2');
  t.is(findCookie(['cookie', 'xab=1; abc=3'], 'ab'), undefined);
  t.is(findCookie(['cookie', 'ab'], 'ab'), undefined);
  t.is(findCookie(['cookie', ';;  ; ab='], 'ab'), '');
});
