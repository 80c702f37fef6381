import type { Digest } from '#shared/digest.ts'
import type { Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Ports } from '../ports.ts'
import { type BlobRow, findBlob, findLinkedBlob, linkBlobs, touchBlobs, unlinkBlob } from '../store/blobs.ts'
import { touchEveryMs } from './grace.ts'

/** A blob that a repository holds; whoever is told so may rely on it for a while. Errors: `blob.not-found`. */
export async function requireBlob(ports: Ports, repository: Repository, digest: Digest): Promise<BlobRow> {
  const blob = await stayingBlob(ports, () => findLinkedBlob(ports.db, repository, digest))
  if (blob) return blob
  throw new SlipwayError('blob.not-found', `Repository ${repository} has no blob ${digest}.`)
}

/** Any blob, for hosts, which run images of all repositories. Errors: `blob.not-found`. */
export async function requireAnyBlob(ports: Ports, digest: Digest): Promise<BlobRow> {
  const blob = await stayingBlob(ports, () => findBlob(ports.db, digest))
  if (blob) return blob
  throw new SlipwayError('blob.not-found', `The store has no blob ${digest}.`)
}

/** Finds a blob that is not collected for a while. One touched just now is looked for again: it may have gone before. */
async function stayingBlob(ports: Ports, find: () => Promise<BlobRow | undefined>): Promise<BlobRow | undefined> {
  const blob = await find()
  const now = ports.clock.now()
  if (!blob || blob.touchedAt > now - touchEveryMs(ports)) return blob
  await touchBlobs(ports.db, [blob.digest], now, now)
  return find()
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
