// One process for all tests that need mppx: JSON requests {op, ...} line by line on standard input, one JSON
// answer line each on standard output; an array of requests is answered by an array. Ends with its input.
import { createInterface } from 'node:readline'
import * as agent from './agent.mjs'
import * as shop from './shop.mjs'
import * as wire from './wire.mjs'

const operations = { ...wire.operations, ...agent.operations, ...shop.operations }

const answer = async ({ op, ...input }) => operations[op](input)

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const request = JSON.parse(line)
  let reply
  try {
    reply = { value: Array.isArray(request) ? await Promise.all(request.map(answer)) : await answer(request) }
  } catch (error) {
    reply = { failed: String(error.stack ?? error) }
  }
  process.stdout.write(`${JSON.stringify(reply)}\n`)
}
process.exit(0)
