import type { Digest } from '#shared/digest.ts'
import { newId, type UploadId } from '#shared/domain/ids.ts'
import type { Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Ports } from '../ports.ts'
import { dropUpload, findUpload, insertUploads, saveUpload, type UploadRow } from '../store/uploads.ts'
import { newObjectKey, UPLOAD_LIFE_MS } from './blob-keys.ts'
import { type Body, claim, finishWriting, gone, keep, openWriting, receive, type Writing } from './writing.ts'

/** How long a request waits for another one that writes the same upload. */
const CLAIM_WAIT_MS = 2000

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
  using writing = await openClaimed(ports, upload, range)
  const failure = await receive(ports, writing, body)
  const taken = await keep(ports, writing)
  if (failure) throw failure
  refuseOtherLength(range, taken.size - upload.size)
  return taken
}

/**
 * Takes the last bytes, if any, and makes the blob visible once its digest is right. Errors: as above, and
 * `blob.digest-mismatch`, after which the upload is gone.
 */
export async function finishUpload(
  ports: Ports,
  repository: Repository,
  upload: UploadRow,
  expected: Digest,
  body: Body,
  range: ContentRange | undefined,
): Promise<void> {
  using writing = await openClaimed(ports, upload, range)
  const failure = await receive(ports, writing, body)
  if (failure) {
    await keep(ports, writing)
    throw failure
  }
  await finishWriting(ports, repository, writing, expected)
}

export async function cancelUpload(ports: Ports, upload: UploadRow): Promise<void> {
  using writing = await openClaimed(ports, upload, undefined)
  await writing.writer.abort()
  await dropUpload(ports.db, writing.row, ports.clock.now())
}

async function openClaimed(ports: Ports, upload: UploadRow, range: ContentRange | undefined): Promise<Writing> {
  const deadline = ports.clock.now() + CLAIM_WAIT_MS
  for (;;) {
    const row = await claim(ports, upload.id)
    if (row) return openAt(ports, row, range)
    await requireUpload(ports, upload.repository as Repository, upload.id)
    if (ports.clock.now() > deadline) {
      throw new SlipwayError('upload.busy', 'Another request writes this upload now: send one chunk after the other.')
    }
    await ports.clock.sleep(100)
  }
}

async function openAt(ports: Ports, row: UploadRow, range: ContentRange | undefined): Promise<Writing> {
  if (!range || range.start === row.size) return openWriting(ports, row, range !== undefined)
  await saveUpload(ports.db, row.id, row.claim ?? '', row)
  throw new SlipwayError(
    'upload.out-of-order',
    `This upload has ${row.size} bytes: send the chunk that begins there, not at ${range.start}.`,
    { facts: { size: row.size } },
  )
}

function refuseOtherLength(range: ContentRange | undefined, taken: number): void {
  if (!range || range.end - range.start + 1 === taken) return
  throw new SlipwayError(
    'upload.interrupted',
    `Content-Range announced ${range.end - range.start + 1} bytes and ${taken} came: ask how far the upload is.`,
  )
}
