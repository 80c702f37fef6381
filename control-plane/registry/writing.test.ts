import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import type { Repository } from '#shared/domain/repository.ts'
import { fakeBlobs } from '#shared/ports/blob-store.fake.ts'
import { migrate } from '../adapters/migrate.ts'
import { openSqlite } from '../adapters/sqlite.ts'
import type { Ports } from '../ports.ts'
import { openDatabase } from '../store/database.ts'
import { appendToUpload, beginUpload, finishUpload } from './uploads.ts'
import { claim, finishWriting, keep, openWriting, receive } from './writing.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const bodyOf = (text: string) => new Blob([text]).stream()
const digestOf = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}` as never
const repository = 'a' as Repository

async function world() {
  const client = openSqlite(':memory:')
  await migrate(client, join(import.meta.dirname, '../store/migrations'))
  let now = 1_000_000
  const clock = {
    now: () => now,
    // A heartbeat that never beats: the writer whose process hangs.
    sleep: (_ms: number, signal?: AbortSignal) =>
      new Promise<void>(resolve => signal?.addEventListener('abort', () => resolve())),
  }
  const blobs = fakeBlobs()
  const random = (array: Uint8Array<ArrayBuffer>) => crypto.getRandomValues(array)
  const ports = { db: openDatabase(client), blobs, clock, random } as unknown as Ports
  return { ports, blobs, pass: (ms: number) => (now += ms) }
}

test('a writer that hung and lost its upload puts nothing into the object that another one finished', async () => {
  const { ports, blobs, pass } = await world()
  const upload = await beginUpload(ports, repository)
  const row = await claim(ports, upload.id)
  if (!row) throw new Error('nobody has it')
  using hung = await openWriting(ports, row)
  await receive(ports, hung, bodyOf('evil'))
  pass(31_000)
  await finishUpload(ports, repository, upload, digestOf('good'), bodyOf('good'), undefined)
  await expect(finishWriting(ports, repository, hung, digestOf('evil'))).rejects.toMatchObject({
    code: 'upload.not-found',
  })
  await expect(keep(ports, hung)).rejects.toMatchObject({ code: 'upload.not-found' })
  const object = await blobs.get(upload.objectKey)
  expect(new Uint8Array(await new Response(object?.body as never).arrayBuffer())).toEqual(bytes('good'))
})

test('an upload whose bytes the store has lost is gone, and says so', async () => {
  const { ports, blobs } = await world()
  const upload = await beginUpload(ports, repository)
  const taken = await appendToUpload(ports, upload, bodyOf('some'), undefined)
  await (await blobs.openWriter(taken.objectKey, taken.writerState ?? undefined)).abort()
  const again = appendToUpload(ports, taken, bodyOf('more'), undefined)
  await expect(again).rejects.toMatchObject({ code: 'upload.not-found' })
})

test('an upload in chunks is hashed as it comes: nobody reads the object', async () => {
  const { ports, blobs } = await world()
  const get = vi.spyOn(blobs, 'get')
  const chunks = ['one', 'two', 'three']
  let upload = await beginUpload(ports, repository)
  for (const chunk of chunks.slice(0, 2)) {
    const range = { start: upload.size, end: upload.size + chunk.length - 1 }
    upload = await appendToUpload(ports, upload, bodyOf(chunk), range)
  }
  await finishUpload(ports, repository, upload, digestOf(chunks.join('')), bodyOf('three'), undefined)
  expect(get).not.toHaveBeenCalled()
})

test('what came in one request and goes on in another is read once more, and is right too', async () => {
  const { ports } = await world()
  const upload = await beginUpload(ports, repository)
  const taken = await appendToUpload(ports, upload, bodyOf('some'), undefined)
  const range = { start: 4, end: 7 }
  const more = await appendToUpload(ports, taken, bodyOf('more'), range)
  const wrong = finishUpload(ports, repository, more, digestOf('other'), null, undefined)
  await expect(wrong).rejects.toMatchObject({ code: 'blob.digest-mismatch' })
})
