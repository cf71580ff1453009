import { createInterface } from 'node:readline';
import { describeError } from '../../base/errors.ts';
import { prepareNetns } from '../../net/netns.ts';
import { runBareHandshakes } from './bare-handshakes.ts';
import { runBulk } from './bulk-client.ts';
import { HeldConnections, runConnections, Tries } from './connection-client.ts';
import { runHttpGet, runHttpLoad, runUntilRefused, runUntilServed } from './http-client.ts';
import { runPingPong, runPings } from './ping-client.ts';
import type { LoadAnswer, LoadOperation, LoadOperations, LoadRequest } from './protocol.ts';
import { runRequests } from './request-client.ts';
import { fetchCertificate, HeldSessions, runHandshakes } from './session-client.ts';

/*
 * The load generator, on the engine so that it costs little: client-program.ts
 * Reads a request a line on standard input, answers each with a line, and ends with its input.
 */

type Operations = {
  [Op in LoadOperation]: (
    ask: LoadOperations[Op]['ask'],
  ) => LoadOperations[Op]['answer'] | Promise<LoadOperations[Op]['answer']>;
};

const connections = new HeldConnections();
const sessions = new HeldSessions();
const tries = new Tries();

const operations: Operations = {
  bulk: runBulk,
  pings: runPings,
  requests: runRequests,
  pingPong: runPingPong,
  connections: runConnections,
  hold: (ask) => connections.hold(ask),
  holdSessions: (ask) => sessions.hold(ask),
  keepTrying: (ask) => ({ started: tries.start(ask) }),
  release() {
    tries.stop();
    return { released: connections.release() + sessions.release() };
  },
  httpLoad: runHttpLoad,
  httpGet: runHttpGet,
  untilServed: runUntilServed,
  untilRefused: runUntilRefused,
  get: fetchPage,
  certificate: fetchCertificate,
  handshakes: runHandshakes,
  bareHandshakes: runBareHandshakes,
};

function run<Op extends LoadOperation>(op: Op, ask: LoadOperations[Op]['ask']): unknown {
  return operations[op](ask);
}

async function fetchPage({ host, port, path }: LoadOperations['get']['ask']): Promise<string> {
  const answer = await fetch(`http://${host}:${port}${path}`);
  return await answer.text();
}

await prepareNetns();
for await (const line of createInterface({ input: process.stdin })) {
  const { op, ask } = JSON.parse(line) as LoadRequest;
  let answer: LoadAnswer;
  try {
    answer = { answer: await run(op, ask) };
  } catch (error) {
    answer = { error: describeError(error) };
  }
  console.log(JSON.stringify(answer));
}
process.exit(0);
