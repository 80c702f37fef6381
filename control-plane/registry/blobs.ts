import type { Digest } from '#shared/digest.ts'
import type { Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { ByteRange } from '#shared/ports/blob-store.ts'
import type { Ports } from '../ports.ts'
import {
  type BlobRow,
  findBlob,
  findLinkedBlob,
  forgetBlob,
  linkBlobs,
  touchBlobs,
  unlinkBlob,
} from '../store/blobs.ts'
import { findUpstreamBlob, findUpstreamBlobs } from '../store/upstreams.ts'
import { touchEveryMs } from './grace.ts'
import { AGENT_PATIENCE_MS, CLIENT_PATIENCE_MS, pullBlob } from './pull-blob.ts'

/**
 * A blob that a repository holds, fetched from its upstream if need be; whoever is told so may rely on it for a while.
 * Errors: `blob.not-found`, those of `pullBlob`.
 */
export async function requireBlob(ports: Ports, repository: Repository, digest: Digest): Promise<BlobRow> {
  const blob = await stayingBlob(ports, () => findLinkedBlob(ports.db, repository, digest))
  if (blob) return blob
  const upstream = await findUpstreamBlob(ports.db, digest, repository)
  if (upstream) return pullBlob(ports, upstream, CLIENT_PATIENCE_MS)
  throw new SlipwayError('blob.not-found', `Repository ${repository} has no blob ${digest}.`)
}

/** Of the upstream repositories that name a blob, for one request of a host. */
const SOURCES_ASKED = 5
/** containerd 2.3, and with it Docker 29, gives up on an answer whose headers take 30 s. */
const PROMPT_MS = 10_000

/** A blob that a client waits for. What is on its way from an upstream has its size by the manifest that names it. */
export interface AwaitedBlob {
  size: number
  /** Undefined when the client should be answered first. */
  here: BlobRow | undefined
  /** Once it is in the store and verified. Errors: those of `pullBlob`. */
  whole: Promise<BlobRow>
}

/** `requireBlob` for who wants an answer within ten seconds, and the bytes when they are here. Errors: the same. */
export async function awaitBlob(ports: Ports, repository: Repository, digest: Digest): Promise<AwaitedBlob> {
  const whole = requireBlob(ports, repository, digest)
  const answered = new AbortController()
  try {
    const here = await Promise.race([whole, ports.clock.sleep(PROMPT_MS, answered.signal).then(() => undefined)])
    if (here) return { size: here.size, here, whole }
    const upstream = await findUpstreamBlob(ports.db, digest, repository)
    return { size: upstream?.size ?? (await whole).size, here, whole }
  } finally {
    answered.abort()
  }
}

/**
 * A blob's bytes. Those that the store has lost are forgotten, so that whoever pushes them is not told that they are here.
 * Errors: `blob.store-failed`.
 */
export async function openBlob(ports: Ports, blob: BlobRow, range?: ByteRange): Promise<ReadableStream<Uint8Array>> {
  const object = await ports.blobs.get(blob.objectKey, range)
  if (object) return object.body
  await noteLost(ports, blob)
  throw new SlipwayError('blob.store-failed', `The store has lost blob ${blob.digest}: push it again.`)
}

/**
 * For a host to whom a signed URL brought nothing: the store is asked, and what it has lost is forgotten with the steps of builds that
 * name it, which are told of anew once somebody has made them. One that is here, or is not known, is no error.
 */
export async function forgetIfLost(ports: Ports, digest: Digest): Promise<void> {
  const blob = await findBlob(ports.db, digest)
  if (blob && !(await ports.blobs.head(blob.objectKey))) await noteLost(ports, blob)
}

async function noteLost(ports: Ports, { digest, objectKey }: BlobRow): Promise<void> {
  await forgetBlob(ports.db, { digest, objectKey })
  ports.note('the blob store has lost a blob', { digest, objectKey })
}

/** The size of a blob that a repository holds, or would fetch. Errors: `blob.not-found`. */
export async function sizeOfBlob(ports: Ports, repository: Repository, digest: Digest): Promise<number> {
  const blob = await stayingBlob(ports, () => findLinkedBlob(ports.db, repository, digest))
  if (blob) return blob.size
  const upstream = await findUpstreamBlob(ports.db, digest, repository)
  return (upstream ?? (await requireBlob(ports, repository, digest))).size
}

/**
 * Any blob, for hosts, which run images of all repositories; one of an upstream is fetched. Errors: `blob.not-found`,
 * those of `pullBlob`: `upstream.busy` after two minutes at most, and the host asks again.
 */
export async function requireAnyBlob(ports: Ports, digest: Digest): Promise<BlobRow> {
  const blob = await stayingBlob(ports, () => findBlob(ports.db, digest))
  if (blob) return blob
  let failure = new SlipwayError('blob.not-found', `The store has no blob ${digest}.`)
  for (const upstream of await findUpstreamBlobs(ports.db, digest, SOURCES_ASKED)) {
    try {
      return await pullBlob(ports, upstream, AGENT_PATIENCE_MS)
    } catch (error) {
      // On its way: the host asks again. Anything else may be this source's alone, whose manifests anybody may write.
      if (!(error instanceof SlipwayError) || error.code === 'upstream.busy') throw error
      failure = error
    }
  }
  throw failure
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

/**
 * Takes a blob out of a repository; its bytes go when no manifest needs them. One that a manifest of the repository names
 * stays, or its image could no more be pulled. Errors: `blob.not-found`, `blob.in-use`.
 */
export async function removeBlob(ports: Ports, repository: Repository, digest: Digest): Promise<void> {
  if (await unlinkBlob(ports.db, repository, digest)) return
  if (await findLinkedBlob(ports.db, repository, digest)) {
    throw new SlipwayError(
      'blob.in-use',
      `A manifest of ${repository} names blob ${digest}: delete the manifest first, or leave blobs to garbage collection.`,
    )
  }
  throw new SlipwayError('blob.not-found', `Repository ${repository} has no blob ${digest}.`)
}
