import type { Digest } from '#shared/digest.ts'
import { newId, type UploadId } from '#shared/domain/ids.ts'
import type { Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { BlobWriter } from '#shared/ports/blob-store.ts'
import type { Ports } from '../ports.ts'
import { linkBlobs, touchBlobs, uploadsBecomeBlobs } from '../store/blobs.ts'
import { claimUpload, deleteUpload, dropUpload, renewClaim, saveUpload, type UploadRow } from '../store/uploads.ts'
import { UPLOAD_LIFE_MS } from './blob-keys.ts'
import { digestOfObject } from './object-digest.ts'
import { nativeHash, type RunningHash, resumableHash } from './running-hash.ts'

/** Bytes into an upload's object, one writer at a time in all processes, whoever they come from. */

/** A writer that was silent for this long is taken for dead; one that lives says so three times as often. */
export const CLAIM_STALE_MS = 30_000
export const CLAIM_RENEW_MS = CLAIM_STALE_MS / 3
/** A client that sends nothing for this long has gone away. */
const STALL_MS = 60_000

/** Bytes of a request; undefined or empty for none. */
export type Body = ReadableStream<Uint8Array> | null

/** Disposing of it ends the claim's heartbeat: whoever opens one says `using`. */
export interface Writing extends Disposable {
  row: UploadRow
  claim: string
  writer: BlobWriter
  /** Bytes taken, those of earlier requests included. */
  size: number
  /** Undefined when bytes came before that nobody hashed: then the whole object is, when all is there. */
  hash: RunningHash | undefined
  /** Another writer has taken the upload: nothing more of ours may reach its object. */
  isLost(): boolean
}

/** Takes an upload's row for one writer; undefined while another one has it, or when it is gone. */
export function claim(ports: Ports, id: UploadId): Promise<UploadRow | undefined> {
  const now = ports.clock.now()
  return claimUpload(ports.db, id, newId<UploadId>(ports.random), now, now - CLAIM_STALE_MS)
}

/** Opens the object of a row that was claimed, where its last writer left it. `isChunked`: more requests will follow. */
export async function openWriting(ports: Ports, row: UploadRow, isChunked = false): Promise<Writing> {
  const writer = await openOrRelease(ports, row)
  const hash = hashFor(row, isChunked)
  return { row, claim: row.claim ?? '', writer, size: row.size, hash, ...heartbeat(ports, row) }
}

function hashFor({ size, hashState }: UploadRow, isChunked: boolean): RunningHash | undefined {
  if (size > 0) return hashState === null ? undefined : resumableHash(hashState)
  return isChunked ? resumableHash() : nativeHash()
}

/** Errors: `upload.not-found` when the store has lost what was written; others let go of the claim. */
async function openOrRelease(ports: Ports, row: UploadRow): Promise<BlobWriter> {
  try {
    return await ports.blobs.openWriter(row.objectKey, row.writerState ?? undefined)
  } catch (error) {
    if (error instanceof SlipwayError && error.code === 'blob.not-found') {
      await dropUpload(ports.db, row, ports.clock.now())
      throw gone(row.id)
    }
    await saveUpload(ports.db, row.id, row.claim ?? '', row)
    throw error
  }
}

/** Says that the writer lives, whatever it waits for: a slow client, a slow store, the reading of a large object. */
export function heartbeat(ports: Ports, row: UploadRow) {
  const ended = new AbortController()
  let isLost = false
  const beat = async () => {
    while (!ended.signal.aborted && !isLost) {
      await ports.clock.sleep(CLAIM_RENEW_MS, ended.signal)
      if (ended.signal.aborted) return
      isLost = !(await renewClaim(ports.db, row.id, row.claim ?? '', ports.clock.now()))
    }
  }
  beat().catch(() => {}) // A store that does not answer fails the writer by itself.
  return { isLost: () => isLost, [Symbol.dispose]: () => ended.abort() }
}

/** Writes a body; returns why it stopped early, so that what came can be kept first. */
export async function receive(
  ports: Ports,
  writing: Writing,
  body: Body,
  stallMs = STALL_MS,
): Promise<SlipwayError | undefined> {
  if (!body) return undefined
  const reader = body.getReader()
  using patience = watchOver(ports, reader, stallMs)
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (patience.isOver()) return interrupted(`nothing came for ${stallMs / 1000} s`)
      if (done) return undefined
      patience.renew()
      // After the write: a failing store must not leave a hash of bytes that it never took.
      await writing.writer.write(value)
      writing.hash?.update(value)
      writing.size += value.length
      if (writing.isLost()) return gone(writing.row.id)
    }
  } catch (cause) {
    return cause instanceof SlipwayError ? cause : interrupted('they broke off', cause)
  } finally {
    reader.cancel().catch(() => {})
  }
}

function interrupted(why: string, cause?: unknown): SlipwayError {
  return new SlipwayError(
    'upload.interrupted',
    `The bytes stopped coming before their end (${why}): ask how far the upload is, and go on from there.`,
    { cause },
  )
}

/** Ends a read that gets nothing for too long. One timer for all reads: one each would cost more than the reading. */
function watchOver(ports: Ports, reader: ReadableStreamDefaultReader<Uint8Array>, stallMs: number) {
  let heardAt = ports.clock.now()
  let isOver = false
  const ended = new AbortController()
  const watch = async () => {
    while (!ended.signal.aborted && !isOver) {
      await ports.clock.sleep(stallMs / 4, ended.signal)
      isOver = !ended.signal.aborted && ports.clock.now() - heardAt > stallMs
    }
    if (isOver) await reader.cancel()
  }
  watch().catch(() => {}) // Cancelling what has ended already.
  return {
    renew: () => {
      heardAt = ports.clock.now()
    },
    isOver: () => isOver,
    [Symbol.dispose]: () => ended.abort(),
  }
}

/** Ends a writer that is to go on later, and lets go of the claim. Errors: `upload.not-found` when that was lost. */
export async function keep(ports: Ports, writing: Writing): Promise<UploadRow> {
  const { row, size } = writing
  await refuseIfLost(ports, writing)
  const writerState = await writing.writer.suspend()
  const digestSoFar = digestOfAll(writing) ?? null
  const expiresAt = ports.clock.now() + UPLOAD_LIFE_MS
  const progress = { size, writerState, digestSoFar, hashState: writing.hash?.state() ?? null, expiresAt }
  if (!(await saveUpload(ports.db, row.id, writing.claim, progress))) throw gone(row.id)
  return { ...row, ...progress, claim: null }
}

/**
 * Makes the blob visible in a repository once its digest is right. Whoever brought the same bytes before gives the
 * object; ours goes. Errors: `blob.digest-mismatch`, after which the upload is gone; `upload.not-found`.
 */
export async function finishWriting(
  ports: Ports,
  repository: Repository,
  writing: Writing,
  expected: Digest,
): Promise<void> {
  const { writer, row, size } = writing
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
  await refuseIfLost(ports, writing)
  try {
    await writer.complete()
  } catch (error) {
    await saveUpload(ports.db, row.id, writing.claim, row) // It may be tried again at once.
    throw error
  }
  if (digestSoFar === undefined && (await digestOfObject(ports.blobs, row.objectKey)) !== expected) {
    return refuse(ports, writing, expected)
  }
  const now = ports.clock.now()
  if (!(await renewClaim(ports.db, row.id, writing.claim, now))) throw gone(row.id)
  const [, , ended] = await ports.db.batch([
    ...uploadsBecomeBlobs(ports.db, [{ id: row.id, objectKey: row.objectKey, digest: expected, size }], now),
    linkBlobs(ports.db, repository, [expected], now),
  ])
  if (ended.length === 0) throw gone(row.id)
}

/** Another writer has the object now: what we hold of it must not be written any more. */
async function refuseIfLost(ports: Ports, { row, writer, claim }: Writing): Promise<void> {
  if (await renewClaim(ports.db, row.id, claim, ports.clock.now())) return
  await writer.abort()
  throw gone(row.id)
}

/** True once the blob was touched: from then on it is not collected before it could be linked. */
async function isHereToStay(ports: Ports, digest: Digest): Promise<boolean> {
  const now = ports.clock.now()
  return (await touchBlobs(ports.db, [digest], now, now + 1)).length > 0
}

/** The digest of everything taken, where it was hashed as it came. */
function digestOfAll({ row, size, hash }: Writing): Digest | undefined {
  if (hash) return hash.digest()
  return size === row.size ? (row.digestSoFar ?? undefined) : undefined
}

/** Forgets an upload whose bytes are the wrong ones. */
export async function refuse(ports: Ports, { row, writer }: Writing, expected: Digest): Promise<never> {
  await writer.abort()
  await dropUpload(ports.db, row, ports.clock.now())
  throw new SlipwayError(
    'blob.digest-mismatch',
    `The bytes do not have the digest ${expected}: nothing was kept, begin a new upload.`,
  )
}

export function gone(id: string): SlipwayError {
  return new SlipwayError('upload.not-found', `There is no upload ${id}: it has ended or expired. Begin a new one.`)
}
