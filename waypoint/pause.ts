import { Deadline, type Deadlines } from './timeout.ts';

/** Settles after that time. */
export function pause(deadlines: Deadlines, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const deadline = new Deadline({
      onDeadline() {
        resolve();
      },
    });
    deadlines.set(deadline, ms);
  });
}
