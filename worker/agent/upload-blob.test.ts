import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { digestFromHex } from '#shared/digest.ts'
import { httpControlPlane } from './http-control-plane.ts'

const digest = digestFromHex('c'.repeat(64))
const PART = 1024 * 1024
const COUNT = 9
const file = Buffer.alloc(COUNT * PART - 100, 'slipway')
const forever = new AbortController().signal

/** An API and its store in one. `breaks` says of a part's nth attempt whether its line breaks in the middle. */
async function openStore(breaks: (number: number, attempt: number) => boolean) {
  await using undo = new AsyncDisposableStack()
  const folder = await mkdtemp(join(tmpdir(), 'slipway-upload-'))
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'layer')
  await writeFile(path, file)
  const stored = new Map<number, Buffer>()
  const attempts = new Map<number, number>()
  const said: string[] = []
  let [atOnce, mostAtOnce] = [0, 0]
  const server = createServer(async (request, response) => {
    const number = Number(/(\d+)$/.exec(request.url ?? '')?.[1])
    if (request.url?.startsWith('/store/')) {
      const attempt = (attempts.get(number) ?? 0) + 1
      attempts.set(number, attempt)
      mostAtOnce = Math.max(mostAtOnce, ++atOnce)
      if (breaks(number, attempt)) request.once('data', () => request.socket.destroy())
      const bytes = await buffer(request).catch(() => undefined)
      atOnce--
      if (!bytes) return
      stored.set(number, bytes)
      response.writeHead(200, { etag: `"tag ${number}"` }).end()
    } else if (request.method === 'POST') {
      const { port } = server.address() as AddressInfo
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify({ url: `http://127.0.0.1:${port}/store/${number}`, headers: {} }))
    } else {
      const body = (await buffer(request)).toString()
      said.push(body === '' ? 'whole' : `${number} ${JSON.parse(body).tag}`)
      response.writeHead(204).end()
    }
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  undo.defer(async () => {
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
  })
  const { port } = server.address() as AddressInfo
  const whole = undo.move()
  return {
    ...{ path, stored, attempts, said, mostAtOnce: () => mostAtOnce },
    plane: httpControlPlane(`http://127.0.0.1:${port}`, 'token'),
    [Symbol.asyncDispose]: () => whole.disposeAsync(),
  }
}

test('parts go side by side, a few at a time; those whose line broke go again, and no others', async () => {
  await using store = await openStore((number, attempt) => number % 3 === 0 && attempt < 3)
  const missing = Array.from({ length: COUNT }, (_, index) => index + 1)
  await store.plane.upload({ digest, parts: { bytes: PART, missing } }, store.path, forever)
  expect(Buffer.concat(missing.map(number => store.stored.get(number) ?? Buffer.alloc(0))).equals(file)).toBe(true)
  expect(missing.map(number => store.attempts.get(number))).toEqual([1, 1, 3, 1, 1, 3, 1, 1, 3])
  expect(store.said.slice(0, -1).sort()).toEqual(missing.map(number => `${number} "tag ${number}"`).sort())
  expect(store.said.at(-1)).toBe('whole')
  expect(store.mostAtOnce()).toBeGreaterThan(1)
  expect(store.mostAtOnce()).toBeLessThanOrEqual(4)
})

test('only what is missing is sent', async () => {
  await using store = await openStore(() => false)
  await store.plane.upload({ digest, parts: { bytes: PART, missing: [2, 9] } }, store.path, forever)
  expect([...store.stored].map(([number, { length }]) => [number, length]).sort()).toEqual([
    [2, PART],
    [9, PART - 100],
  ])
})

test('an upload that is canceled ends, and begins no other part', async () => {
  const cancel = new AbortController()
  await using store = await openStore(() => {
    cancel.abort(new Error('canceled'))
    return true
  })
  const missing = Array.from({ length: COUNT }, (_, index) => index + 1)
  const upload = store.plane.upload({ digest, parts: { bytes: PART, missing } }, store.path, cancel.signal)
  await expect(upload).rejects.toThrow()
  expect(store.attempts.size).toBeLessThanOrEqual(4)
  expect(store.said).toEqual([])
})
