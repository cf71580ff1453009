import {
  CONTINUATION,
  DATA,
  FLAG_END_HEADERS,
  FLAG_END_STREAM,
  FLAG_PADDED,
  FLAG_PRIORITY,
  HEADERS,
  PING,
  PRIORITY,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from '../../net/h2/frame.ts';
import { block, frame, headers, setting, u32 } from './h2-frames.ts';

/** What one client sends on a connection of its own to do harm, and how a server is to end it. */
export type Flood = Readonly<{
  /** `H1: rapid reset`: its row of the catalogue, and what it is. */
  title: string;
  end: string;
  frames: readonly Buffer[];
}>;

const E = FLAG_END_STREAM;
const H = FLAG_END_HEADERS;

const repeat = (count: number, make: (index: number) => readonly Buffer[]): Buffer[] =>
  Array.from({ length: count }, (_, index) => make(index)).flat();
const id = (index: number): number => index * 2 + 1;
const update = (stream: number, increment: number): Buffer =>
  frame(WINDOW_UPDATE, 0, stream, u32(increment));
const on = (stream: number): Buffer => Buffer.concat([u32(stream), Buffer.from([0])]);

/**
 * At most a thousand frames each, all of which ask for what the server does not answer.
 *
 * @param request the fields of a request, by its method; a server of tunnels takes CONNECT whatever the method.
 */
export function makeFloods(request: (method?: string) => readonly string[]): readonly Flood[] {
  const open = (index: number): Buffer => headers(id(index), 0, ...request('POST'));
  /** One field of 3.9 KiB that enters the table, then references to it. */
  const bomb = (stream: number, name: string): Buffer => {
    const entry = block(name, 'x'.repeat(3900));
    entry[0] = 0x40;
    const fields = Buffer.concat([block(...request()), entry, Buffer.alloc(4000, 0xbe)]);
    return frame(HEADERS, E | H, stream, fields);
  };
  const calm = (title: string, frames: readonly Buffer[]): Flood => ({
    ...{ title, end: 'GOAWAY 11', frames },
  });
  return [
    calm(
      'H1: rapid reset',
      repeat(500, (n) => [open(n), frame(RST_STREAM, 0, id(n), u32(8))]),
    ),
    calm(
      'H2: a flood of resets, provoked by zero increments,',
      repeat(500, (n) => [open(n), update(id(n), 0)]),
    ),
    calm(
      'H2: a flood of resets, provoked by windows beyond their limit,',
      repeat(500, (n) => [open(n), update(id(n), 0x7fffffff)]),
    ),
    calm(
      'H2: a flood of resets, provoked by DATA after the end,',
      repeat(500, (n) => [
        headers(id(n), E, ...request()),
        frame(DATA, 0, id(n), Buffer.from('x')),
      ]),
    ),
    {
      title: 'H2: a priority on itself',
      end: 'GOAWAY 1',
      frames: [
        frame(HEADERS, E | H | FLAG_PRIORITY, 1, Buffer.concat([on(1), block(...request())])),
      ],
    },
    calm('H3: a flood of CONTINUATION', [
      frame(HEADERS, 0, 1, block(...request())),
      ...repeat(900, () => [frame(CONTINUATION, 0, 1, block('a', 'b'))]),
    ]),
    calm('H3: a flood of empty CONTINUATION', [
      frame(HEADERS, 0, 1),
      ...repeat(900, () => [frame(CONTINUATION, 0, 1)]),
    ]),
    calm(
      'H4: a flood of PING',
      repeat(1000, () => [frame(PING, 0, 0, u32(1, 2))]),
    ),
    calm(
      'H5: a flood of SETTINGS',
      repeat(1000, () => [frame(SETTINGS, 0, 0, setting(4, 1))]),
    ),
    calm(
      'H6: a flood of HPACK bombs',
      repeat(4, (n) => [bomb(id(n), 'a')]),
    ),
    calm(
      'H6: a flood of bombs of cookies',
      repeat(4, (n) => [bomb(id(n), 'cookie')]),
    ),
    calm('H7: a flood of empty DATA', [open(0), ...repeat(999, () => [frame(DATA, 0, 1)])]),
    calm(
      'H7: a flood of empty HEADERS',
      repeat(999, (n) => [frame(HEADERS, E | H, id(n))]),
    ),
    calm(
      'H8: churn of priorities',
      repeat(1000, (n) => [frame(PRIORITY, 0, id(n % 50), on(id(n % 50) + 2))]),
    ),
    calm(
      'H9: a flood of invalid header blocks',
      repeat(999, (n) => [headers(id(n), E, ...request(), 'A', 'b')]),
    ),
    {
      title: 'H9: a block that cannot be decoded',
      end: 'GOAWAY 9',
      frames: [frame(HEADERS, E | H, 1, Buffer.from([0x80]))],
    },
    {
      title: 'H10: a connection window beyond 2^31-1',
      end: 'GOAWAY 3',
      frames: [update(0, 0x7fffffff)],
    },
    {
      title: 'H11: a flood of invalid HEADERS, and one that cannot be decoded,',
      end: 'GOAWAY 9',
      frames: [
        ...repeat(100, (n) => [headers(id(n), E, ...request(), 'X', 'y')]),
        frame(HEADERS, E | H, id(100), Buffer.from([0xff, 0xff])),
      ],
    },
    {
      title: 'H11: a HEADERS frame with more padding than payload',
      end: 'GOAWAY 1',
      frames: [frame(HEADERS, E | H | FLAG_PADDED, 1, Buffer.from([200, 1, 2]))],
    },
    calm(
      'H23: a thousand streams, opened and left idle,',
      repeat(1000, (n) => [open(n)]),
    ),
  ];
}
