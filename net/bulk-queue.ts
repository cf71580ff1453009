import type { TurnTask } from './turn-task.ts';

/** Those who move bulk into one session, or of one socket, in the order in which they asked. See runInBulk(). */
export class BulkQueue {
  readonly tasks: TurnTask[] = [];
  /** It stands among the queues whose turn comes. */
  waits = false;
}

/** The queues of a thread that have tasks. They go in turn, however many each of them has. */
export class BulkQueues {
  readonly #waiting: BulkQueue[] = [];
  /** Of all of them. */
  tasks = 0;

  add(queue: BulkQueue, task: TurnTask): void {
    this.tasks++;
    queue.tasks.push(task);
    this.#wait(queue);
  }

  /** The next task of the next queue, which then waits behind the others. */
  next(): TurnTask | undefined {
    const queue = this.#waiting.shift();
    if (queue === undefined) return undefined;
    queue.waits = false;
    const task = queue.tasks.shift();
    this.tasks--;
    this.#wait(queue);
    return task;
  }

  #wait(queue: BulkQueue): void {
    if (queue.waits || queue.tasks.length === 0) return;
    queue.waits = true;
    this.#waiting.push(queue);
  }
}
