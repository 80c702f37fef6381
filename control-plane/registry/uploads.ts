import { createHash } from 'node:crypto'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import { newId, type UploadId } from '#shared/domain/ids.ts'
import type { Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { BlobWriter } from '#shared/ports/blob-store.ts'
import type { Ports } from '../ports.ts'
import { linkBlobs, touchBlobs, uploadsBecomeBlobs } from '../store/blobs.ts'
import {
  claimUpload,
  deleteUpload,
  dropUpload,
  findUpload,
  insertUploads,
  renewClaim,
  saveUpload,
  type UploadRow,
} from '../store/uploads.ts'
import { newObjectKey, UPLOAD_LIFE_MS } from './blob-keys.ts'

/** A writer that was silent for this long is taken for dead; one that lives says so three times as often. */
export const CLAIM_STALE_MS = 30_000
const CLAIM_RENEW_MS = CLAIM_STALE_MS / 3
/** How long a request waits for another one that writes the same upload. */
const CLAIM_WAIT_MS = 2000
/** A client that sends nothing for this long has gone away. */
const STALL_MS = 60_000

/** Bytes of a request; undefined or empty for none. */
export type Body = ReadableStream<Uint8Array> | null

/** Where a chunk says it belongs: `Content-Range: START-END`, both inclusive. */
export interface ContentRange {
  start: number
  end: number
}

export async function beginUpload(ports: Ports, repository: Repository): Promise<UploadRow> {
  const id = newId<UploadId>(ports.random)
  const expiresAt = ports.clock.now() + UPLOAD_LIFE_MS
  const row = { id, repository, objectKey: newObjectKey(ports.random), digest: null, size: 0, expiresAt }
  await insertUploads(ports.db, [row])
  return requireUpload(ports, repository, id)
}

/** Errors: `upload.not-found`, also for one that has expired. */
export async function requireUpload(ports: Ports, repository: Repository, id: string): Promise<UploadRow> {
  const row = await findUpload(ports.db, id, repository)
  if (row && row.expiresAt > ports.clock.now()) return row
  throw gone(id)
}

/**
 * Takes the next bytes of an upload. What arrived before a client broke off stays taken: it asks how far we are and goes
 * on. Errors: `upload.out-of-order`, `upload.busy`, `upload.interrupted`, those of the store.
 */
export async function appendToUpload(
  ports: Ports,
  upload: UploadRow,
  body: Body,
  range: ContentRange | undefined,
): Promise<UploadRow> {
  const writing = await openClaimed(ports, upload, range)
  const failure = await receive(ports, writing, body)
  const taken = await keep(ports, writing)
  if (failure) throw failure
  refuseOtherLength(range, taken.size - upload.size)
  return taken
}

/**
 * Takes the last bytes, if any, and makes the blob visible once its digest is right. Whoever pushed the same bytes
 * before gives the object; ours goes. Errors: as above, and `blob.digest-mismatch`, after which the upload is gone.
 */
export async function finishUpload(
  ports: Ports,
  repository: Repository,
  upload: UploadRow,
  expected: Digest,
  body: Body,
  range: ContentRange | undefined,
): Promise<void> {
  const writing = await openClaimed(ports, upload, range)
  const failure = await receive(ports, writing, body)
  if (failure) {
    await keep(ports, writing)
    throw failure
  }
  const { writer, claim, row, size } = writing
  const digestSoFar = digestOfAll(writing)
  if (digestSoFar !== undefined && digestSoFar !== expected) return refuse(ports, writing, expected)
  if (digestSoFar !== undefined && (await isHereToStay(ports, expected))) {
    await writer.abort()
    await ports.db.batch([
      deleteUpload(ports.db, row.id),
      linkBlobs(ports.db, repository, [expected], ports.clock.now()),
    ])
    return
  }
  await writer.complete()
  if (digestSoFar === undefined && (await digestOfObject(ports, row.objectKey)) !== expected) {
    return refuse(ports, writing, expected)
  }
  const now = ports.clock.now()
  if (!(await renewClaim(ports.db, row.id, claim, now))) throw gone(row.id)
  const [, , ended] = await ports.db.batch([
    ...uploadsBecomeBlobs(ports.db, [{ id: row.id, digest: expected, size }], now),
    linkBlobs(ports.db, repository, [expected], now),
  ])
  if (ended.length === 0) throw gone(row.id)
}

/** True once the blob was touched: from then on it is not collected before it could be linked. */
async function isHereToStay(ports: Ports, digest: Digest): Promise<boolean> {
  const now = ports.clock.now()
  return (await touchBlobs(ports.db, [digest], now, now + 1)).length > 0
}

export async function cancelUpload(ports: Ports, upload: UploadRow): Promise<void> {
  const { writer, row } = await openClaimed(ports, upload, undefined)
  await writer.abort()
  await dropUpload(ports.db, row, ports.clock.now())
}

interface Writing {
  row: UploadRow
  claim: string
  writer: BlobWriter
  /** Bytes taken, those of earlier requests included. */
  size: number
  /** Hashes what one request brings; what several brought is hashed again when all is there. */
  hash: ReturnType<typeof createHash> | undefined
}

async function openClaimed(ports: Ports, upload: UploadRow, range: ContentRange | undefined): Promise<Writing> {
  const claim = newId<UploadId>(ports.random)
  const deadline = ports.clock.now() + CLAIM_WAIT_MS
  for (;;) {
    const now = ports.clock.now()
    const row = await claimUpload(ports.db, upload.id, claim, now, now - CLAIM_STALE_MS)
    if (row) return openRow(ports, row, claim, range)
    await requireUpload(ports, upload.repository as Repository, upload.id)
    if (now > deadline) {
      throw new SlipwayError('upload.busy', 'Another request writes this upload now: send one chunk after the other.')
    }
    await ports.clock.sleep(100)
  }
}

async function openRow(ports: Ports, row: UploadRow, claim: string, range: ContentRange | undefined): Promise<Writing> {
  if (range && range.start !== row.size) {
    await saveUpload(ports.db, row.id, claim, row)
    throw new SlipwayError(
      'upload.out-of-order',
      `This upload has ${row.size} bytes: send the chunk that begins there, not at ${range.start}.`,
      { facts: { size: row.size } },
    )
  }
  const writer = await ports.blobs.openWriter(row.objectKey, row.writerState ?? undefined)
  return { row, claim, writer, size: row.size, hash: row.size === 0 ? createHash('sha256') : undefined }
}

/** Writes the body; returns why it stopped early, so that what came can be kept first. */
async function receive(ports: Ports, writing: Writing, body: Body): Promise<SlipwayError | undefined> {
  if (!body) return undefined
  let renewedAt = ports.clock.now()
  const reader = body.getReader()
  try {
    for (;;) {
      const { done, value } = await withStallLimit(ports, reader.read())
      if (done) return undefined
      // After the write: a failing store must not leave a hash of bytes that it never took.
      await writing.writer.write(value)
      writing.hash?.update(value)
      writing.size += value.length
      if (ports.clock.now() - renewedAt < CLAIM_RENEW_MS) continue
      renewedAt = ports.clock.now()
      if (!(await renewClaim(ports.db, writing.row.id, writing.claim, renewedAt))) return gone(writing.row.id)
    }
  } catch (cause) {
    if (cause instanceof SlipwayError) return cause
    return new SlipwayError(
      'upload.interrupted',
      'The bytes stopped coming before their end: ask how far the upload is, and go on from there.',
      { cause },
    )
  } finally {
    reader.cancel().catch(() => {})
  }
}

async function withStallLimit<T>(ports: Ports, work: Promise<T>): Promise<T> {
  const timer = new AbortController()
  const stalled = ports.clock.sleep(STALL_MS, timer.signal).then(() => {
    if (!timer.signal.aborted) throw new Error(`nothing came for ${STALL_MS / 1000} s`)
    return work
  })
  try {
    return await Promise.race([work, stalled])
  } finally {
    timer.abort()
  }
}

async function keep(ports: Ports, writing: Writing): Promise<UploadRow> {
  const { row, claim, size } = writing
  const writerState = await writing.writer.suspend()
  const digestSoFar = digestOfAll(writing) ?? null
  const expiresAt = ports.clock.now() + UPLOAD_LIFE_MS
  const progress = { size, writerState, digestSoFar, expiresAt }
  if (!(await saveUpload(ports.db, row.id, claim, progress))) throw gone(row.id)
  return { ...row, ...progress, claim: null }
}

/** The digest of everything taken, where one request brought it all. */
function digestOfAll({ row, size, hash }: Writing): Digest | undefined {
  if (hash) return digestFromHex(hash.copy().digest('hex'))
  return size === row.size ? (row.digestSoFar ?? undefined) : undefined
}

/** Reads an object that several requests wrote: no hash can be carried over between them on every platform. */
async function digestOfObject(ports: Ports, objectKey: string): Promise<Digest | undefined> {
  const found = await ports.blobs.get(objectKey)
  if (!found) return undefined
  const hash = createHash('sha256')
  for await (const chunk of found.body) hash.update(chunk)
  return digestFromHex(hash.digest('hex'))
}

async function refuse(ports: Ports, { row, writer }: Writing, expected: Digest): Promise<never> {
  await writer.abort()
  await dropUpload(ports.db, row, ports.clock.now())
  throw new SlipwayError(
    'blob.digest-mismatch',
    `The bytes do not have the digest ${expected}: nothing was kept, begin a new upload.`,
  )
}

function refuseOtherLength(range: ContentRange | undefined, taken: number): void {
  if (!range || range.end - range.start + 1 === taken) return
  throw new SlipwayError(
    'upload.interrupted',
    `Content-Range announced ${range.end - range.start + 1} bytes and ${taken} came: ask how far the upload is.`,
  )
}

function gone(id: string): SlipwayError {
  return new SlipwayError('upload.not-found', `There is no upload ${id}: it has ended or expired. Begin a new one.`)
}
