/** Work that a turn does once for everyone who asked: a flush, a continued read. */
export interface TurnTask {
  runTask(): void;
}
