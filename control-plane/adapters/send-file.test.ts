import { once } from 'node:events'
import { mkdtemp, rm, truncate, writeFile } from 'node:fs/promises'
import { createServer, get, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { ByteRange } from '#shared/ports/blob-store.ts'
import { FileStream } from './file-stream.ts'
import { sendFile } from './send-file.ts'

const SIZE = 3 * 1024 * 1024 + 7
const bytes = Buffer.from(Uint8Array.from({ length: SIZE }, (_, at) => (at * 31) ^ (at >> 9)))
let folder: string
let path: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'slipway-send-'))
  path = join(folder, 'blob')
  await writeFile(path, bytes)
})
afterEach(() => rm(folder, { recursive: true }))

/** Serves the file once a request; `ended` has how each sending ended. */
async function serve(range?: ByteRange, promised = SIZE) {
  const ended: Promise<void>[] = []
  const server = createServer((_, outgoing) => {
    const body = new FileStream(path, range)
    const response = new Response(body, { status: 206, headers: { 'content-length': String(promised), etag: '"x"' } })
    const sending = sendFile(response, body, outgoing)
    sending.catch(() => outgoing.destroy())
    ended.push(sending)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const ask = async () => {
    const request = get({ port: (server.address() as AddressInfo).port, agent: false })
    const [answer] = (await once(request, 'response')) as [IncomingMessage]
    return answer
  }
  return { ask, ended, [Symbol.asyncDispose]: async () => void (await new Promise(done => server.close(done))) }
}

describe('sendFile', () => {
  test('sends the whole file with the status and headers of the response', async () => {
    await using server = await serve()
    const answer = await server.ask()
    expect({ status: answer.statusCode, etag: answer.headers.etag }).toEqual({ status: 206, etag: '"x"' })
    expect((await buffer(answer)).equals(bytes)).toBe(true)
  })

  test('sends a range, larger than its buffers too', async () => {
    const range = { start: 5, end: 2 * 1024 * 1024 }
    await using server = await serve(range, range.end - range.start + 1)
    expect((await buffer(await server.ask())).equals(bytes.subarray(range.start, range.end + 1))).toBe(true)
  })

  test('keeps many clients apart, slow ones among them', async () => {
    await using server = await serve()
    const answers = await Promise.all(Array.from({ length: 8 }, server.ask))
    const bodies = await Promise.all(
      answers.map(async (answer, at) => {
        if (at % 2 === 0) await new Promise(done => setTimeout(done, 20))
        return buffer(answer)
      }),
    )
    for (const body of bodies) expect(body.equals(bytes)).toBe(true)
  })

  test('ends when its client leaves', async () => {
    await using server = await serve()
    const answer = await server.ask()
    await once(answer, 'readable')
    answer.destroy()
    await server.ended[0]
  })

  test('breaks off when the file is shorter than promised, and says so', async () => {
    await truncate(path, 1024 * 1024)
    await using server = await serve({ start: 0, end: SIZE - 1 })
    const answer = await server.ask()
    await expect(buffer(answer)).rejects.toMatchObject({ code: 'ECONNRESET' })
    await expect(server.ended[0]).rejects.toThrow('too early')
  })

  test('sends nothing when there is no file', async () => {
    await rm(path)
    await using server = await serve()
    await expect(server.ask()).rejects.toMatchObject({ code: 'ECONNRESET' })
    await expect(server.ended[0]).rejects.toMatchObject({ code: 'ENOENT' })
  })
})
