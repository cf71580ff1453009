import test from 'ava';
import { MeshError } from '../../base/errors.ts';
import { defineVerb, EXIT, type VerbGroup } from '../../cli/command.ts';
import { parseCommandLine, type Invocation } from '../../cli/parse.ts';

const done = (): Promise<number> => Promise.resolve(EXIT.ok);
const root: VerbGroup = {
  name: 'tool',
  summary: 'A tool',
  commands: [
    defineVerb({
      name: 'send',
      aliases: ['post'],
      group: 'Verbs',
      summary: 'Send something',
      arguments: [
        { name: 'TO', summary: 'whom' },
        { name: 'WHAT', summary: 'what', optional: true, rest: true },
      ],
      options: {
        loud: { type: 'flag', short: 'l', summary: 'loudly' },
        stamp: { type: 'text', short: 's', placeholder: 'S', summary: 'stamp', default: 'plain' },
        copy: { type: 'list', placeholder: 'WHO', summary: 'also to' },
        times: { type: 'number', placeholder: 'N', summary: 'how often', min: 1, max: 9 },
        within: { type: 'duration', placeholder: 'T', summary: 'how soon', default: 10_000 },
        colour: { type: 'text', placeholder: 'C', summary: 'colour', choices: ['red', 'green'] },
      },
      run: done,
    }),
    {
      name: 'box',
      group: 'Verbs',
      summary: 'Boxes',
      commands: [
        defineVerb({ name: 'open', group: 'Verbs', summary: 'Open', options: {}, run: done }),
        defineVerb({
          name: 'run',
          group: 'Verbs',
          summary: 'Run',
          arguments: [
            { name: 'BOX', summary: 'which' },
            { name: 'COMMAND', summary: 'what', rest: true },
          ],
          options: { quiet: { type: 'flag', short: 'q', summary: 'quietly' } },
          run: done,
        }),
      ],
    },
  ],
};

function parse(line: string): Invocation {
  return parseCommandLine(root, line === '' ? [] : line.split(' '));
}

const defaults = {
  loud: false,
  stamp: 'plain',
  copy: [],
  times: undefined,
  within: 10_000,
  colour: undefined,
};

const runs = test.macro({
  exec(t, line: string, path: string, options: object, words: readonly string[]) {
    const invocation = parse(line);
    if (invocation.kind !== 'run') return t.fail(`kind is ${invocation.kind}`);
    t.is(invocation.path.join(' '), path);
    t.deepEqual(invocation.options, options);
    t.deepEqual(invocation.arguments, words);
  },
  title: (given = '') => `parseCommandLine() reads ${given}`,
});

test('defaults', runs, 'send bob', 'tool send', defaults, ['bob']);
test('an alias', runs, 'post bob', 'tool send', defaults, ['bob']);
test(
  'every type of option, before and after arguments',
  runs,
  'send -l --stamp=gold bob --copy a --copy=b --times 3 hello --within 1m30s --colour red',
  'tool send',
  {
    loud: true,
    stamp: 'gold',
    copy: ['a', 'b'],
    times: 3,
    within: 90_000,
    colour: 'red',
  },
  ['bob', 'hello'],
);
test('a member of a group', runs, 'box open', 'tool box open', {}, []);
test(
  'the last of an option given twice',
  runs,
  'send -s a bob -s b',
  'tool send',
  { ...defaults, stamp: 'b' },
  ['bob'],
);
test('a dash alone as a value', runs, 'send -s - bob', 'tool send', { ...defaults, stamp: '-' }, [
  'bob',
]);
test(
  'a value that looks like an option when it is inline',
  runs,
  'send --stamp=--x bob',
  'tool send',
  { ...defaults, stamp: '--x' },
  ['bob'],
);
test(
  "somebody else's options behind --",
  runs,
  'box run -q b -- ls -l --help',
  'tool box run',
  { quiet: true },
  ['b', 'ls', '-l', '--help'],
);

const refuses = test.macro({
  exec(t, line: string, message: string) {
    const error = t.throws(() => parse(line), { instanceOf: MeshError });
    t.is(error.code, 'ERR_USAGE');
    t.is(error.message.split('\n')[0], message);
  },
  title: (_, line: string) => `parseCommandLine() refuses "tool ${line}"`,
});

test(refuses, 'snd bob', 'Unknown command snd of tool; did you mean send?');
test(refuses, 'fly', 'Unknown command fly of tool');
test(refuses, '--lod', 'Unknown option --lod of tool');
test(refuses, 'box shut', 'Unknown command shut of tool box');
test(refuses, 'send bob --stmap x', 'Unknown option --stmap of tool send; did you mean --stamp?');
test(refuses, 'send bob -x', 'Unknown option -x of tool send');
test(refuses, 'box run b -l', 'Unknown option -l of tool box run; put -- before the command');
test(refuses, 'send', 'TO is missing: whom');
test(refuses, 'box open now', 'Unexpected argument now');
test(refuses, 'send bob --loud=yes', 'Option --loud takes no value: found yes');
test(refuses, 'send bob --stamp', 'Option --stamp needs a value: --stamp S');
test(refuses, 'send bob --stamp --loud', 'Option --stamp needs a value: --stamp S');
test(refuses, 'send bob --times 0', 'Option --times is a whole number from 1 to 9: found 0');
test(refuses, 'send bob --times 1e0', 'Option --times is a whole number from 1 to 9: found 1e0');
test(
  refuses,
  'send bob --within 5',
  'Option --within is a time such as 500ms, 10s, 5m or 1h: found 5',
);
test(
  refuses,
  'send bob --colour gren',
  'Option --colour is one of red, green: found gren; did you mean green?',
);
test(refuses, 'send bob --__proto__ x', 'Unknown option --__proto__ of tool send');

for (const line of [
  '',
  '--help',
  '-h',
  'box',
  'box --help',
  'send --help',
  'send -h',
  'box run -h',
])
  test(`parseCommandLine() takes "tool ${line}" as a call for help`, (t) => {
    t.is(parse(line).kind, 'help');
  });
