import { mkdtempSync, readdirSync, rmSync, truncateSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { serve } from '@hono/node-server'
import { afterAll, expect, test } from 'vitest'
import { describeBlobStore } from '#shared/ports/blob-store.contract.ts'
import type { WriterState } from '#shared/ports/blob-store.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { freePort } from '#test/support/slipway.ts'
import { problemOf } from '../routes/problems.ts'
import { folderBlobRoutes } from './folder-blob-routes.ts'
import { openFolderBlobs } from './folder-blobs.ts'

const folder = mkdtempSync(join(tmpdir(), 'slipway-blobs-'))
const port = await freePort()
const publicUrl = `http://127.0.0.1:${port}`
const secret = Buffer.alloc(32, 7)
const store = await openFolderBlobs({ folder, secret, publicUrl, clock: systemClock })
const routes = folderBlobRoutes(store, () => {})
routes.onError((error, c) => c.text(error.message, problemOf(error, 'test').status as 400))
const server = serve({ fetch: routes.fetch, hostname: '127.0.0.1', port })

afterAll(async () => {
  await new Promise(resolve => server.close(resolve))
  rmSync(folder, { recursive: true, force: true })
})

describeBlobStore('folder', () => store)

const parts = () => readdirSync(join(folder, '.part'))
const nobody = { expiresMs: 0 }

test('bytes with another digest never become visible', async () => {
  const attempt = store.write('blobs/wrong', Readable.from([Buffer.from('x')]), { ...nobody, sha256: '0'.repeat(64) })
  await expect(attempt).rejects.toMatchObject({ code: 'blob.digest-mismatch' })
  expect(await store.head('blobs/wrong')).toBeUndefined()
  expect(parts()).toEqual([])
})

test('more bytes than were allowed are refused before their end', async () => {
  const endless = Readable.from(
    (function* () {
      for (;;) yield Buffer.alloc(1024)
    })(),
  )
  await expect(store.write('blobs/big', endless, { ...nobody, maxSize: 4096 })).rejects.toMatchObject({
    code: 'request.too-large',
  })
  expect(parts()).toEqual([])
})

test('an upload that breaks off leaves nothing', async () => {
  const broken = Readable.from(
    (async function* () {
      yield Buffer.from('half')
      throw new Error('cut')
    })(),
  )
  await expect(store.write('blobs/half', broken, nobody)).rejects.toThrow('cut')
  expect(await store.head('blobs/half')).toBeUndefined()
  expect(parts()).toEqual([])
})

test('a URL works until it expires, and a key cannot leave the folder', async () => {
  await store.put('a/b', new Uint8Array([1]))
  const expired = await store.signDownload('a/b', -1000)
  expect((await fetch(expired)).status).toBe(403)
  await expect(store.head('../etc/passwd')).rejects.toMatchObject({ code: 'blob.not-found' })
})

test('a suspended writer outlives a restart; after two days without a byte its part is removed', async () => {
  const writer = await store.openWriter('blobs/kept')
  await writer.write(Buffer.from('half'))
  const state = await writer.suspend()
  const old = join(folder, '.part', 'f'.repeat(24))
  writeFileSync(old, 'old')
  const threeDaysAgo = Date.now() / 1000 - 3 * 24 * 3600
  utimesSync(old, threeDaysAgo, threeDaysAgo)

  const restarted = await openFolderBlobs({ folder, secret, publicUrl, clock: systemClock })
  expect(parts()).toHaveLength(1)
  const next = await restarted.openWriter('blobs/kept', state)
  await next.write(Buffer.from(' and half'))
  await next.complete()
  const { keys } = await restarted.list('blobs/kept')
  expect([keys, parts()]).toEqual([['blobs/kept'], []])
})

test('a state whose bytes are gone, or whose name is not one of ours, opens nothing', async () => {
  const writer = await store.openWriter('blobs/lost')
  await writer.write(Buffer.from('twelve bytes'))
  const state = await writer.suspend()
  truncateSync(join(folder, '.part', parts()[0] ?? ''), 5)
  await expect(store.openWriter('blobs/lost', state)).rejects.toMatchObject({ code: 'blob.not-found' })
  const forged = JSON.stringify({ file: '../blobs/kept', offset: 0 }) as WriterState
  await expect(store.openWriter('blobs/lost', forged)).rejects.toThrow()
  rmSync(join(folder, '.part', parts()[0] ?? ''))
})

test('a part that comes while its upload is joined reaches no object', async () => {
  for (let round = 0; round < 50; round++) {
    const key = `blobs/late${round}`
    const id = await store.parts.begin(key)
    const write = (text: string) =>
      store.write(key, Readable.from([Buffer.from(text)]), { ...nobody, size: 5, part: { id, offset: 0 } })
    await write('right')
    const late = Promise.allSettled(Array.from({ length: 4 }, () => write('wrong')))
    await store.parts.join(key, id, ['"0"'], 5)
    const joined = await new Response((await store.get(key))?.body as never).text()
    await late
    expect(await new Response((await store.get(key))?.body as never).text()).toBe(joined)
    await store.delete(key)
  }
  expect(parts()).toEqual([])
})
