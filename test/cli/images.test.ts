import test from 'ava';
import { parseImages, splitWords } from '../../cli/images.ts';

const splits = test.macro({
  exec(t, text: string, words: readonly string[]) {
    t.deepEqual(splitWords(text), words);
  },
  title: (_, text: string) => `splitWords() splits ${text}`,
});

test(splits, 'python3 -m http.server  80', ['python3', '-m', 'http.server', '80']);
test(splits, `sh -c 'echo "a b"; exit'`, ['sh', '-c', 'echo "a b"; exit']);
test(splits, `a "b c"d '' e`, ['a', 'b cd', '', 'e']);
test(splits, String.raw`a\ b "c\"d" 'e\f'`, ['a b', 'c"d', String.raw`e\f`]);
test(splits, ' $HOME * ', ['$HOME', '*']);

test('parseImages() takes everything behind the first equals sign as the command', (t) => {
  t.deepEqual(parseImages(['nginx=env A=1 run', 'registry:5000/x/y=z']), {
    nginx: ['env', 'A=1', 'run'],
    'registry:5000/x/y': ['z'],
  });
});

test('parseImages() refuses what names no command', (t) => {
  for (const option of ['nginx', 'nginx=', 'nginx= ', '=run', 'nginx="a'])
    t.throws(() => parseImages([option]), { code: 'ERR_USAGE' }, option);
});
