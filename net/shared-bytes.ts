/** The one way for code above the engine to get memory that a ByteStream can write from. */
export { allocateShared } from './native/memory.ts';
