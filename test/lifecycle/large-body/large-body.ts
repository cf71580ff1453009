/** What came of one body. */
export type LargeBody = Readonly<{
  /** What is wrong with it; '' when every byte was right. */
  wrong: string;
  /** Of the body, without the time in which its reader stood still. */
  gigabitsPerSecond: number;
}>;
