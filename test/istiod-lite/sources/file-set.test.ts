import test from 'ava';
import { FileSet } from '../../../istiod-lite/sources/file-set.ts';
import { formatProblem } from '../../../mesh/kubernetes/problem.ts';

const map = (name: string, label: string): string =>
  `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: ${name}, labels: { v: ${label} } }\n`;

/** What changed, as `+name=label` and `-name`. */
function changes(set: FileSet): string[] {
  const { upserts, removals } = set.takeChanges();
  return [
    ...upserts.map(({ ref, metadata }) => `+${ref.name}=${metadata.labels.get('v') ?? ''}`),
    ...removals.map((key) => `-${key.split('/').at(-1) ?? ''}`),
  ].sort();
}

test('a FileSet tells only what changed', (t) => {
  const set = new FileSet();
  set.setFile('a.yaml', `${map('one', 'a')}---\n${map('two', 'a')}`);
  t.deepEqual(changes(set), ['+one=a', '+two=a']);
  t.deepEqual(changes(set), []);
  set.setFile('a.yaml', map('two', 'b'));
  t.deepEqual(changes(set), ['+two=b', '-one']);
  set.removeFile('a.yaml');
  t.deepEqual(changes(set), ['-two']);
});

test('an object that is refused keeps its last good version in force', (t) => {
  const set = new FileSet();
  set.setFile('a.yaml', map('one', 'good'));
  t.deepEqual(changes(set), ['+one=good']);
  set.setFile('a.yaml', map('one', '"not good"'));
  t.deepEqual(changes(set), []);
  t.is(set.problems().length, 1);
  set.setFile('a.yaml', map('one', 'better'));
  t.deepEqual(changes(set), ['+one=better']);
  t.deepEqual(set.problems(), []);
});

test('a file that cannot be read as YAML keeps all its objects in force', (t) => {
  const set = new FileSet();
  set.setFile('a.yaml', `${map('one', 'a')}---\n${map('two', 'a')}`);
  changes(set);
  set.setFile('a.yaml', `${map('one', 'b')}---\nkind: [`);
  // What could be read is taken; what is missing may be what could not be read.
  t.deepEqual(changes(set), ['+one=b']);
  set.setUnreadable('a.yaml', 'no permission');
  t.deepEqual(changes(set), []);
  t.deepEqual(set.problems().map(formatProblem), ['a.yaml: error: no permission']);
});

test('where two files have one object the first has it, and the other is reported', (t) => {
  const set = new FileSet();
  set.setFile('b.yaml', map('one', 'b'));
  t.deepEqual(changes(set), ['+one=b']);
  set.setFile('a.yaml', map('one', 'a'));
  t.deepEqual(changes(set), ['+one=a']);
  t.deepEqual(set.problems().map(formatProblem), [
    'b.yaml:1:1: error: ConfigMap default/one: stands in several files; the one of a.yaml:1 is used; remove one of them',
  ]);
  set.removeFile('a.yaml');
  t.deepEqual(changes(set), ['+one=b']);
  t.deepEqual(set.problems(), []);
});

test('an object that moves to another file in one change does not go in between', (t) => {
  const set = new FileSet();
  set.setFile('a.yaml', map('one', 'a'));
  changes(set);
  set.removeFile('a.yaml');
  set.setFile('b.yaml', map('one', 'b'));
  t.deepEqual(changes(set), ['+one=b']);
});
