import { type Digest, digestHex } from '#shared/digest.ts'
import { type HostId, newId, type UploadId } from '#shared/domain/ids.ts'
import type { Descriptor } from '#shared/domain/image.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { SignedUpload } from '#shared/ports/blob-store.ts'
import type { MissingBlob, MissingBlobs } from '#shared/protocol/agent.ts'
import type { Ports } from '../ports.ts'
import { findBlobs, touchBlobs, uploadsBecomeBlobs } from '../store/blobs.ts'
import {
  dropUpload,
  insertUploads,
  renewUpload,
  renewUploads,
  saveUpload,
  saveUploadPart,
  setPartsId,
  type UploadRow,
  uploadsOf,
} from '../store/uploads.ts'
import { newObjectKey, SIGNED_URL_MS, UPLOAD_LIFE_MS } from './blob-keys.ts'
import { digestOfObject } from './object-digest.ts'
import { isInParts, missingParts, partCount, partOf, partTagsOf } from './upload-parts.ts'
import { claim, heartbeat } from './writing.ts'

/**
 * Which of these blobs the store lacks, and how each is uploaded: a URL that takes exactly its bytes, or the parts that have
 * not come yet, since this host may have begun before. Those that the store has stay for a while.
 */
export async function missingBlobs(ports: Ports, hostId: HostId, wanted: readonly Descriptor[]): Promise<MissingBlobs> {
  const missing = await lackingBlobs(ports, wanted)
  const expiresAt = ports.clock.now() + UPLOAD_LIFE_MS
  const rows = missing.map(({ digest, size }) => ({
    id: isInParts(size) ? partsUploadId(hostId, digest) : newId<UploadId>(ports.random),
    ...{ repository: null, objectKey: newObjectKey(ports.random), digest, size, expiresAt },
  }))
  await insertUploads(ports.db, rows)
  const inParts = rows.filter(({ size }) => isInParts(size)).map(({ id }) => id)
  const begun = inParts.length > 0 ? await renewUploads(ports.db, inParts, expiresAt) : []
  const signed = rows.map(async ({ id, digest, objectKey, size }): Promise<MissingBlob> => {
    if (isInParts(size)) return { digest, parts: missingParts(begun.find(row => row.id === id)?.partTags, size) }
    const terms = { expiresMs: SIGNED_URL_MS, size, sha256: digestHex(digest) }
    return { digest, upload: await ports.blobs.signUpload(objectKey, terms) }
  })
  return { missing: await Promise.all(signed) }
}

/** Of these, what the store lacks; what it has is kept from being collected for a while. */
export async function lackingBlobs(ports: Ports, wanted: readonly Descriptor[]): Promise<Descriptor[]> {
  const now = ports.clock.now()
  const digests = wanted.map(({ digest }) => digest)
  await touchBlobs(ports.db, digests, now, now)
  const here = new Set((await findBlobs(ports.db, digests)).map(({ digest }) => digest))
  const byDigest = new Map(wanted.map(blob => [blob.digest, blob]))
  return [...byDigest.values()].filter(({ digest }) => !here.has(digest))
}

/** A URL for one part of a blob that `missingBlobs` told this host to upload in parts. `upload.not-found`. */
export async function signPart(ports: Ports, hostId: HostId, digest: Digest, number: number): Promise<SignedUpload> {
  const row = await requirePartsUpload(ports, hostId, digest, number)
  const partsId = row.partsId ?? (await beginParts(ports, row))
  const part = { ...partOf(row.size, number), expiresMs: SIGNED_URL_MS }
  return ports.blobs.parts.sign(row.objectKey, partsId, part)
}

/** Of several parts that are the first at once, one begins the upload for all. */
async function beginParts({ blobs, db }: Ports, row: UploadRow): Promise<string> {
  const mine = await blobs.parts.begin(row.objectKey)
  const agreed = await setPartsId(db, row, mine)
  if (agreed !== mine) await blobs.parts.drop(row.objectKey, mine)
  if (agreed === undefined) throw gone()
  return agreed
}

/** Records that a part came, with the tag that the store gave it. `upload.not-found`. */
export async function partCame(ports: Ports, hostId: HostId, digest: Digest, number: number, tag: string) {
  await saveUploadPart(ports.db, await requirePartsUpload(ports, hostId, digest, number), number, tag)
}

/**
 * What this host, or any by a URL for the whole, uploaded becomes a blob once its digest is seen to be right. Idempotent.
 * Errors: `blob.not-found` when its bytes are not all there, `blob.digest-mismatch` when they are others: these are
 * forgotten, to be sent anew; `upload.busy` while another call looks at them. Reads a blob whole where the store did not
 * check it: seconds for a GiB.
 */
export async function takeUpload(ports: Ports, hostId: HostId, digest: Digest): Promise<void> {
  const [now, own] = [ports.clock.now(), partsUploadId(hostId, digest)]
  if ((await touchBlobs(ports.db, [digest], now, now)).length > 0) return
  const seen = new Set<Outcome>()
  for (const { id } of (await uploadsOf(ports.db, digest)).filter(row => row.id === own || !isInParts(row.size))) {
    const outcome = await takeOne(ports, id, digest)
    if (outcome === 'taken') return
    seen.add(outcome)
  }
  if ((await findBlobs(ports.db, [digest])).length > 0) return // Another call took the same upload meanwhile.
  if (seen.has('busy')) throw new SlipwayError('upload.busy', `The bytes of ${digest} are being verified: ask again.`)
  if (seen.has('other'))
    throw new SlipwayError('blob.digest-mismatch', `Not the bytes of ${digest} came: send them again.`)
  throw new SlipwayError('blob.not-found', `The bytes of ${digest} are not all in the store: upload them first.`)
}

type Outcome = 'taken' | 'busy' | 'partial' | 'other'

/** One call at a time: what is read must be what becomes the blob. */
async function takeOne(ports: Ports, id: UploadId, digest: Digest): Promise<Outcome> {
  const row = await claim(ports, id)
  if (!row) return 'busy'
  using _ = heartbeat(ports, row)
  try {
    if (!(await isWhole(ports, row))) return await release(ports, row, 'partial')
    if (await hasDigest(ports, row, digest)) {
      const whole = { id, objectKey: row.objectKey, digest, size: row.size }
      const [, , ended] = await ports.db.batch(uploadsBecomeBlobs(ports.db, [whole], ports.clock.now()))
      return ended.length > 0 ? 'taken' : 'partial'
    }
    await dropUpload(ports.db, row, ports.clock.now())
    return 'other'
  } catch (error) {
    await release(ports, row, 'partial')
    throw error
  }
}

async function release<T>({ db }: Ports, row: UploadRow, outcome: T): Promise<T> {
  await saveUpload(db, row.id, row.claim ?? '', row)
  return outcome
}

/** Joins parts that are all there; an upload that cannot be joined is removed, to be begun anew. */
async function isWhole({ blobs, db, clock }: Ports, row: UploadRow): Promise<boolean> {
  if (row.partsId !== null) {
    const tags = partTagsOf(row.partTags)
    if (tags.size < partCount(row.size)) return false
    const inOrder = [...tags].sort(([one], [other]) => one - other).map(([, tag]) => tag)
    try {
      await blobs.parts.join(row.objectKey, row.partsId, inOrder, row.size)
    } catch (error) {
      if (!(error instanceof SlipwayError) || error.code !== 'blob.not-found') throw error
      await blobs.parts.drop(row.objectKey, row.partsId)
      await dropUpload(db, row, clock.now())
      return false
    }
  }
  return (await blobs.head(row.objectKey))?.size === row.size
}

/** A folder checks what comes by a URL for the whole; of other stores only those that name the digest do, else it is read. */
async function hasDigest({ blobs }: Ports, { objectKey, partsId }: UploadRow, digest: Digest): Promise<boolean> {
  if (!blobs.isDirect && partsId === null) return true
  const { sha256 } = (await blobs.head(objectKey)) ?? {}
  if (sha256 !== undefined) return sha256 === digestHex(digest)
  return (await digestOfObject(blobs, objectKey)) === digest
}

async function requirePartsUpload(ports: Ports, hostId: HostId, digest: Digest, number: number): Promise<UploadRow> {
  const now = ports.clock.now()
  const row = await renewUpload(ports.db, partsUploadId(hostId, digest), now, now + UPLOAD_LIFE_MS)
  if (!row || number > partCount(row.size)) throw gone()
  return row
}

/** One for a host and a blob: who asks again, after a crash of whichever side, goes on with the same. */
const partsUploadId = (hostId: HostId, digest: Digest) => `parts-${hostId}-${digestHex(digest)}` as UploadId

const gone = () => new SlipwayError('upload.not-found', 'There is no such upload: ask again which blobs are missing.')
