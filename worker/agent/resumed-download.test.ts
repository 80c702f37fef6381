import { createServer } from 'node:http'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freePort } from '#test/support/slipway.ts'
import { resumedDownload } from './resumed-download.ts'

/** A server that breaks the line after `cutAfter` bytes of each answer, as often as it is told to. */
const whole = Buffer.from(Array.from({ length: 300_000 }, (_, at) => at % 251))
const port = await freePort()
let cuts = 0
let cutAfter = 0
const ranges: (string | undefined)[] = []
const server = createServer((request, response) => {
  ranges.push(request.headers.range)
  const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0)
  const rest = whole.subarray(from)
  response.writeHead(from > 0 ? 206 : 200, { 'content-length': rest.length })
  if (cuts-- <= 0) return void response.end(rest)
  response.write(rest.subarray(0, cutAfter), () => setTimeout(() => response.destroy(), 20))
})
const quick = { now: () => Date.now(), sleep: async () => {} }

beforeAll(() => new Promise<void>(resolve => void server.listen(port, '127.0.0.1', resolve)))
afterAll(() => void server.close())

const open = async (from: number) => {
  const headers: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {}
  const { body } = await fetch(`http://127.0.0.1:${port}/`, { headers })
  return body as unknown as AsyncIterable<Uint8Array>
}
const read = async () => {
  const chunks: Uint8Array[] = []
  for await (const chunk of resumedDownload(open, quick)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

test('a line that breaks is resumed where it broke, as often as bytes come in between', async () => {
  ranges.length = 0
  cuts = 6
  cutAfter = 40_000
  expect((await read()).equals(whole)).toBe(true)
  expect(ranges[0]).toBeUndefined()
  expect(ranges.slice(1).every(range => /^bytes=\d+-$/.test(range ?? ''))).toBe(true)
})

test('a line that gives nothing any more ends in its error', async () => {
  cuts = 100
  cutAfter = 0
  await expect(read()).rejects.toThrow()
  cuts = 0
})
