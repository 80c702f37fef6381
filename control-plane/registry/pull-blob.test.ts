import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Digest, digestOf } from '#shared/digest.ts'
import { readUpstreams } from '#shared/domain/upstream.ts'
import { type Clock, systemClock } from '#shared/ports/clock.ts'
import { fakeMessageBus } from '#shared/ports/message-bus.fake.ts'
import { type UpstreamProxy, upstreamProxy } from '#test/support/upstream-proxy.ts'
import { openFolderBlobs } from '../adapters/folder-blobs.ts'
import { httpForgeApi } from '../adapters/http-forge-api.ts'
import { httpUpstreams } from '../adapters/http-upstreams.ts'
import { migrate } from '../adapters/migrate.ts'
import { openSqlite } from '../adapters/sqlite.ts'
import { readBuildPolicy } from '../intent/build-limits.ts'
import { DeliveryRoom } from '../intent/delivery-room.ts'
import { openSecretBox } from '../intent/secret-box.ts'
import type { Ports } from '../ports.ts'
import { findBlob } from '../store/blobs.ts'
import { openDatabase } from '../store/database.ts'
import { AGENT_PATIENCE_MS, CLIENT_PATIENCE_MS, pullBlob } from './pull-blob.ts'
import { openShare } from './share.ts'

/** What takes longer than a test may: a clock that is put forward. The rest is in `test/conformance/pull-through.test.ts`. */

const bytes = crypto.getRandomValues(new Uint8Array(60_000))
const repository = 'docker.io/library/slow'
let undo: AsyncDisposableStack
let upstream: UpstreamProxy
let ports: Ports
let digest: Digest
let aheadMs = 0

beforeEach(async () => {
  undo = new AsyncDisposableStack()
  const folder = mkdtempSync(join(tmpdir(), 'slipway-pull-'))
  undo.defer(() => rmSync(folder, { recursive: true, force: true }))
  upstream = undo.use(await upstreamProxy(undefined))
  const client = openSqlite(':memory:')
  undo.defer(() => client.close())
  await migrate(client, join(import.meta.dirname, '../store/migrations'))
  aheadMs = 0
  const clock: Clock = { now: () => systemClock.now() + aheadMs, sleep: systemClock.sleep }
  digest = await digestOf(bytes)
  const random = (array: Uint8Array<ArrayBuffer>) => crypto.getRandomValues(array)
  ports = {
    ...{ db: openDatabase(client), clock, bus: fakeMessageBus(), share: openShare(), note: () => {} },
    ...{ forges: httpForgeApi(), later: () => {}, deliveries: new DeliveryRoom(0), requireRoom: () => {} },
    blobs: await openFolderBlobs({ folder, secret: Buffer.alloc(32), publicUrl: 'http://127.0.0.1', clock }),
    random,
    secrets: openSecretBox(undefined, random),
    config: {
      publicUrl: 'http://127.0.0.1',
      addressPool: '10.0.0.0/16',
      registryGraceMs: 86_400_000,
      builds: readBuildPolicy(undefined),
      registrySteps: 10,
      buildCache: { maxBytes: 0, keepMs: 0 },
    },
    upstreams: httpUpstreams(
      readUpstreams(JSON.stringify([{ registry: 'docker.io', endpoints: [upstream.url] }])),
      clock,
    ),
  }
})
afterEach(() => undo.disposeAsync())

const wanted = () => ({ repository, source: repository, digest, size: bytes.length })

/** Gives 20,000 bytes an answer; two minutes pass in the middle of each. */
function slowly(hasRanges: boolean): void {
  upstream.misbehave(({ range }, response) => {
    const from = hasRanges ? Number(/bytes=(\d+)-/.exec(range ?? '')?.[1] ?? 0) : 0
    const part = bytes.subarray(from)
    const headers = { 'content-length': part.length, ...(hasRanges ? { 'accept-ranges': 'bytes' } : {}) }
    const contentRange = `bytes ${from}-${bytes.length - 1}/${bytes.length}`
    response.writeHead(from > 0 ? 206 : 200, from > 0 ? { ...headers, 'content-range': contentRange } : headers)
    response.write(part.subarray(0, 10_000))
    setTimeout(() => {
      aheadMs += 121_000
      response.write(part.subarray(10_000, 20_000))
      setTimeout(() => response.end(part.subarray(20_000)), 50)
    }, 50)
    return true
  })
}

test('a fetch that lasts longer than a request goes on with the next one, and is verified as a whole', async () => {
  slowly(true)
  await expect(pullBlob(ports, wanted(), AGENT_PATIENCE_MS)).rejects.toMatchObject({ code: 'upstream.busy' })
  expect(await findBlob(ports.db, digest)).toBeUndefined()
  await expect(pullBlob(ports, wanted(), AGENT_PATIENCE_MS)).rejects.toMatchObject({ code: 'upstream.busy' })
  expect(await pullBlob(ports, wanted(), AGENT_PATIENCE_MS)).toMatchObject({ digest, size: bytes.length })
  expect(upstream.seen.map(({ range }) => range)).toEqual([undefined, 'bytes=20000-', 'bytes=40000-'])
})

test('a client that does not ask again waits through all of it', async () => {
  slowly(true)
  expect(await pullBlob(ports, wanted(), CLIENT_PATIENCE_MS)).toMatchObject({ digest })
})

test('an upstream without ranges is read to its end', async () => {
  slowly(false)
  expect(await pullBlob(ports, wanted(), AGENT_PATIENCE_MS)).toMatchObject({ digest })
  expect(upstream.seen).toHaveLength(1)
})

test('a registry that is not configured any more is not asked', async () => {
  const pulling = pullBlob(ports, { ...wanted(), source: 'gone.example/a' }, AGENT_PATIENCE_MS)
  await expect(pulling).rejects.toMatchObject({ code: 'upstream.denied' })
  expect(upstream.seen).toEqual([])
})
