import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { serve } from '@hono/node-server'
import { afterAll, expect, test } from 'vitest'
import { describeBlobStore } from '#shared/ports/blob-store.contract.ts'
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
const routes = folderBlobRoutes(store)
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
