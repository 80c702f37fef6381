import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Digest, digestFromHex, digestHex } from '#shared/digest.ts'
import type { ResolvedImage } from '#shared/protocol/agent.ts'
import { invalidTar } from '../layer/tar-format.ts'
import { openImageStore } from './oci-image-store.ts'

const GZIP = 'application/vnd.oci.image.layer.v1.tar+gzip'
const sha256 = (bytes: Uint8Array) => digestFromHex(createHash('sha256').update(bytes).digest('hex'))
/** Stands for a tar: what is no repetition of it is not one. */
const tar = Buffer.concat(Array.from({ length: 3 }, () => randomBytes(400_000)))
const zipped = gzipSync(tar)

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-images-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function imageOf(blob: Uint8Array, mediaType: string, diffId = sha256(tar)): ResolvedImage {
  const layer = { mediaType, digest: sha256(blob), size: blob.length }
  return {
    digest: sha256(randomBytes(8)),
    manifest: { schemaVersion: 2, config: { ...layer, mediaType: 'config' }, layers: [layer] },
    config: { architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [diffId] } },
  }
}

/** Layers in memory, refused at the first byte that is not the tar's, as a real one refuses a damaged header. */
function layersInMemory() {
  const layers = new Map<Digest, Buffer>()
  const add = async (diffId: Digest, stream: AsyncIterable<Uint8Array>, verify: () => Promise<void>) => {
    let at = 0
    const taken: Buffer[] = []
    for await (const chunk of stream) {
      if (!tar.subarray(at, at + chunk.length).equals(chunk)) throw invalidTar({ invalid: 'layer.invalid' }, 'is none')
      at += chunk.length
      taken.push(Buffer.from(chunk)) // It is gone when the next one is asked for.
    }
    await verify()
    layers.set(diffId, Buffer.concat(taken))
  }
  return { layers, snapshots: { hasLayer: async (diffId: Digest) => layers.has(diffId), addLayer: add } }
}

/** Pulls an image whose downloads give these bodies, one an attempt, the last one again and again. */
async function pull(image: ResolvedImage, bodies: (() => AsyncIterable<Uint8Array>)[]) {
  const { layers, snapshots } = layersInMemory()
  let count = 0
  const download = async () => {
    const body = bodies[Math.min(count++, bodies.length - 1)]
    return Readable.from(body ? body() : [], { objectMode: false })
  }
  const api = { resolveImage: async () => image, download }
  const store = await openImageStore({
    folder: mkdtempSync(join(folder, 'x-')),
    api,
    snapshots,
    now: Date.now,
    retryMs: 1,
  })
  const error = await store.pull('any').then(
    () => undefined,
    (failure: { code?: string }) => failure,
  )
  return { error, count, layers }
}

async function* inChunks(bytes: Uint8Array) {
  for (let at = 0; at < bytes.length; at += 50_000) yield bytes.subarray(at, at + 50_000)
}
async function* broken(bytes: Uint8Array) {
  yield* inChunks(bytes.subarray(0, 500_000))
  throw new TypeError('terminated')
}
function flipped(bytes: Buffer, at: number) {
  const copy = Buffer.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ 255
  return copy
}
const good = () => inChunks(zipped)

test.each([
  ['a line that breaks', () => broken(zipped), 'host.unreachable'],
  ['a body that is too short', () => inChunks(zipped.subarray(0, 500_000)), 'layer.digest-mismatch'],
  ['an empty body', () => inChunks(Buffer.alloc(0)), 'layer.digest-mismatch'],
  ['a body that is too long', () => inChunks(Buffer.concat([zipped, zipped])), 'layer.digest-mismatch'],
  ['a byte that changed at the begin', () => inChunks(flipped(zipped, 100)), 'layer.digest-mismatch'],
  ['a byte that changed in the middle', () => inChunks(flipped(zipped, 600_000)), 'layer.digest-mismatch'],
])('%s costs another download, and no more than five', async (_, bad, code) => {
  const once = await pull(imageOf(zipped, GZIP), [bad, good])
  expect(once.error).toBeUndefined()
  expect(once.count).toBe(2)
  expect(once.layers.get(sha256(tar))?.equals(tar)).toBe(true)
  expect(await pull(imageOf(zipped, GZIP), [bad])).toMatchObject({ error: { code }, count: 5 })
})

test.each([
  ['is broken itself', flipped(zipped, 600_000), GZIP, sha256(tar)],
  ['holds another tar than its image says', zipped, GZIP, sha256(zipped)],
  ['is of an unknown media type', tar, 'application/vnd.oci.image.layer.v1.tar+gzip+encrypted', sha256(tar)],
])('a layer that %s is not fetched again', async (_, blob, mediaType, diffId) => {
  const { error, count } = await pull(imageOf(blob, mediaType, diffId), [() => inChunks(blob)])
  expect(error).toMatchObject({ code: 'layer.invalid', message: expect.stringContaining(sha256(blob)) })
  expect(count).toBeLessThanOrEqual(1)
})

test.each([
  ['application/vnd.oci.image.layer.v1.tar', tar],
  ['application/vnd.docker.image.rootfs.diff.tar.gzip', zipped],
  ['application/vnd.oci.image.layer.v1.tar+zstd', zstdCompressSync(tar)],
  [
    'application/vnd.oci.image.layer.v1.tar+zstd',
    Buffer.concat([1, 2, 3].map(cutOf).map(part => zstdCompressSync(part))),
  ],
])('%s is unpacked', async (mediaType, blob) => {
  const { error, layers } = await pull(imageOf(blob, mediaType), [() => inChunks(blob)])
  expect(error).toBeUndefined()
  expect(layers.get(sha256(tar))?.equals(tar)).toBe(true)
})

function cutOf(number: number): Buffer {
  return tar.subarray((number - 1) * 400_000, number * 400_000)
}

test('images that come together, and files that a power cut tore', async () => {
  const own = mkdtempSync(join(folder, 'x-'))
  const image = imageOf(zipped, GZIP)
  const { snapshots } = layersInMemory()
  const download = async () => Readable.from(await buffer(Readable.from(good())), { objectMode: false })
  const open = () =>
    openImageStore({ folder: own, api: { resolveImage: async () => image, download }, snapshots, now: Date.now })
  const store = await open()
  await Promise.all(Array.from({ length: 5 }, () => store.pull('any')))
  await Promise.all(Array.from({ length: 5 }, () => store.add(image)))
  expect(readdirSync(own)).toEqual([`${digestHex(image.digest)}.json`])
  for (const torn of ['', '{"digest":"sha', 'null']) {
    writeFileSync(join(own, `${digestHex(image.digest)}.json`), torn)
    expect(await (await open()).find(image.digest)).toBeUndefined()
  }
  await (await open()).pull('any')
  expect(await (await open()).find(image.digest)).toEqual(image)
})

test('progress is told of what is fetched, to two pulls of one layer, and of nothing that is there', async () => {
  const image = imageOf(zipped, GZIP)
  const { snapshots } = layersInMemory()
  const download = async () => Readable.from(inChunks(zipped), { objectMode: false })
  const store = await openImageStore({
    ...{ folder: mkdtempSync(join(folder, 'x-')), api: { resolveImage: async () => image, download } },
    ...{ snapshots, now: Date.now },
  })
  const told: { bytes: number; total: number }[][] = [[], [], []]
  await Promise.all([0, 1].map(at => store.pull('any', soFar => void told[at]?.push(soFar))))
  await store.pull('any', soFar => void told[2]?.push(soFar))
  for (const one of told.slice(0, 2)) {
    expect(one.at(-1)).toEqual({ bytes: zipped.length, total: zipped.length })
    expect(one.map(({ bytes }) => bytes)).toEqual(one.map(({ bytes }) => bytes).toSorted((a, b) => a - b))
  }
  expect(told[2]).toEqual([])
})
