/** Entry of a thread with little memory: reads the text that it is given, and says how many problems it has. */
import { parentPort, workerData } from 'node:worker_threads';
import { readObjects } from '../../../mesh/kubernetes/read.ts';

parentPort?.postMessage(readObjects(String(workerData), 'hostile.yaml').problems.length);
