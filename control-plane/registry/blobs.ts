import type { Digest } from '#shared/digest.ts'
import type { Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Ports } from '../ports.ts'
import { type BlobRow, findBlob, findLinkedBlob, linkBlobs, touchBlobs, unlinkBlob } from '../store/blobs.ts'

/** Touching again within this time is not worth a write; far below any grace period of garbage collection. */
export const TOUCH_EVERY_MS = 10 * 60 * 1000

/** A blob that a repository holds; whoever is told so may rely on it for a while. Errors: `blob.not-found`. */
export async function requireBlob(ports: Ports, repository: Repository, digest: Digest): Promise<BlobRow> {
  const blob = await findLinkedBlob(ports.db, repository, digest)
  if (!blob) throw new SlipwayError('blob.not-found', `Repository ${repository} has no blob ${digest}.`)
  await touch(ports, blob)
  return blob
}

/** Any blob, for hosts, which run images of all repositories. Errors: `blob.not-found`. */
export async function requireAnyBlob(ports: Ports, digest: Digest): Promise<BlobRow> {
  const blob = await findBlob(ports.db, digest)
  if (!blob) throw new SlipwayError('blob.not-found', `The store has no blob ${digest}.`)
  await touch(ports, blob)
  return blob
}

async function touch(ports: Ports, { digest, touchedAt }: BlobRow): Promise<void> {
  const now = ports.clock.now()
  if (touchedAt < now - TOUCH_EVERY_MS) await touchBlobs(ports.db, [digest], now, now)
}

/** Lets a repository hand out a blob of another one. False when that one has it not: the client uploads it then. */
export async function mountBlob(
  ports: Ports,
  repository: Repository,
  digest: Digest,
  from: Repository,
): Promise<boolean> {
  const blob = await findLinkedBlob(ports.db, from, digest)
  if (!blob) return false
  const now = ports.clock.now()
  await ports.db.batch([touchBlobs(ports.db, [digest], now, now), linkBlobs(ports.db, repository, [digest], now)])
  return (await findLinkedBlob(ports.db, repository, digest)) !== undefined
}

/** Takes a blob out of a repository; its bytes go when no manifest needs them. Errors: `blob.not-found`. */
export async function removeBlob(ports: Ports, repository: Repository, digest: Digest): Promise<void> {
  if (await unlinkBlob(ports.db, repository, digest)) return
  throw new SlipwayError('blob.not-found', `Repository ${repository} has no blob ${digest}.`)
}
