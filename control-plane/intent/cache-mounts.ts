import { createHash } from 'node:crypto'
import type { HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { CacheMountView, FoundMount, SaveMount } from '#shared/protocol/cache-mounts.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import type { Ports } from '../ports.ts'
import { findBlob, touchBlobs } from '../store/blobs.ts'
import {
  type CacheMountRow,
  deleteCacheMount,
  deleteCacheMountsBeyond,
  listCacheMounts,
  putCacheMount,
  useCacheMount,
} from '../store/cache-mounts.ts'
import { iso } from './container-view.ts'
import { pageByName } from './page-position.ts'

/** Whatever their size: each is a row that lists show. */
const MAX_COUNT = 10_000

/** Compiled programs and packages are good for one architecture. */
function keyOf(id: string, architecture: string): string {
  return createHash('sha256')
    .update(JSON.stringify([id, architecture]))
    .digest('hex')
    .slice(0, 32)
}

/** What was saved last of a mount. Its blob is not collected while a host may be fetching it. */
export async function findSavedMount(ports: Ports, id: string, architecture: string): Promise<FoundMount> {
  const { db, clock, config } = ports
  const { maxBytes } = config.builds.cacheMounts
  const now = clock.now()
  const row = await useCacheMount(db, keyOf(id, architecture), now)
  if (!row) return { maxBytes }
  await touchBlobs(db, [row.digest], now, now)
  // The store has lost it: whoever has the folder saves it again then.
  if (!(await findBlob(db, row.digest))) return { maxBytes }
  const { digest, size, diffId, unpackedBytes } = row
  return { maxBytes, saved: { digest, size, diffId, unpackedBytes } }
}

/**
 * The last one that comes takes the place of what was saved before, whose blob is garbage then. Errors: `blob.not-found`,
 * `request.too-large`.
 */
export async function saveMount(ports: Ports, hostId: HostId, { id, architecture, saved, build }: SaveMount) {
  const { db, clock, config } = ports
  const now = clock.now()
  const key = keyOf(id, architecture)
  const blob = await findBlob(db, saved.digest)
  if (!blob) {
    throw new SlipwayError('blob.not-found', `The store does not have ${saved.digest}: upload it first.`)
  }
  const { maxBytes } = config.builds.cacheMounts
  if (blob.size > maxBytes) {
    throw new SlipwayError('request.too-large', `A cache mount that is saved may have ${sizeInWords(maxBytes)}.`)
  }
  const { digest, diffId, unpackedBytes } = saved
  const plain = { key, mountId: id, architecture, digest, diffId, unpackedBytes, size: blob.size }
  await putCacheMount(db, { ...plain, buildId: build, hostId, savedAt: now, usedAt: now })
}

export function listCacheMountPage(ports: Ports, limit: number, cursor: string | undefined) {
  return pageByName(
    { limit, cursor },
    (after, count) => listCacheMounts(ports.db, after, count),
    viewCacheMount,
    ({ key }) => key,
  )
}

/** Hosts keep their folders; what they save next is saved as the first. Errors: `cache-mount.not-found`. */
export async function removeCacheMount(ports: Ports, key: string): Promise<void> {
  if (await deleteCacheMount(ports.db, key)) return
  const advice = 'GET /v1/builds/cache/mounts lists them.'
  throw new SlipwayError('cache-mount.not-found', `No saved cache mount has the key ${key}. ${advice}`)
}

/** Bounds what is kept by age and in all; the blobs go with the registry's garbage. */
export async function sweepCacheMounts({ db, clock, config }: Ports): Promise<void> {
  const { totalBytes, unusedMs } = config.builds.cacheMounts
  await deleteCacheMountsBeyond(db, { before: clock.now() - unusedMs, maxBytes: totalBytes, maxCount: MAX_COUNT })
}

function viewCacheMount(row: CacheMountRow): CacheMountView {
  const { key, mountId, architecture, digest, size, unpackedBytes, buildId, hostId, savedAt, usedAt } = row
  const plain = { key, id: mountId, architecture, digest, bytes: size, unpackedBytes, build: buildId, host: hostId }
  return { ...plain, savedAt: iso(savedAt), usedAt: iso(usedAt) }
}
