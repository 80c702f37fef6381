import { type Digest, digestHex } from '#shared/digest.ts'
import type { UploadId } from '#shared/domain/ids.ts'
import type { Repository } from '#shared/domain/repository.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Ports } from '../ports.ts'
import { type BlobRow, findBlob, linkBlobs, touchBlobs } from '../store/blobs.ts'
import { dropUpload, insertUploads, renewClaim, type UploadRow } from '../store/uploads.ts'
import type { UpstreamBlobRow } from '../store/upstreams.ts'
import { newObjectKey, UPLOAD_LIFE_MS } from './blob-keys.ts'
import { portion } from './portion.ts'
import { type Source, sourceOf } from './upstream-names.ts'
import { CLAIM_RENEW_MS, claim, finishWriting, keep, openWriting, receive, refuse, type Writing } from './writing.ts'

/**
 * Blobs from upstreams into the store: once, whoever wants them at the same moment. The upload's row is the lease, as for
 * a client's: one process writes, the others wait, and one that died is followed by the next.
 */

/** A fetch that takes longer is put by and goes on with the next request, so that no request lasts without end. */
const PORTION_MS = 120_000
/** Shorter than a claim's life: a silent upstream is given up before another process takes over. */
const STALL_MS = 20_000
const POLL_MS = 250
const TRIES = 4

/** Agents ask again (`upstream.busy`); other clients would not, and wait as long as they like. */
export const AGENT_PATIENCE_MS = 0
export const CLIENT_PATIENCE_MS = 30 * 60 * 1000

/** Errors: those of `Upstreams`, and `upstream.busy` when patience was over before the bytes were here. */
export async function pullBlob(ports: Ports, wanted: UpstreamBlobRow, patienceMs: number): Promise<BlobRow> {
  const deadline = ports.clock.now() + patienceMs
  for (;;) {
    try {
      // By source too: that one repository has it not, or not for us, is nothing that those of another one should hear.
      const { digest, size, source } = wanted
      await ports.share(`blob ${digest} ${size} ${source}`, () => bring(ports, wanted))
      return await linked(ports, wanted)
    } catch (error) {
      const isBusy = error instanceof SlipwayError && error.code === 'upstream.busy'
      if (!isBusy || ports.clock.now() >= deadline) throw error
    }
  }
}

/** Here, and the repository's to hand out: its manifest names it. */
async function linked(ports: Ports, { repository, digest }: UpstreamBlobRow): Promise<BlobRow> {
  const now = ports.clock.now()
  await ports.db.batch([touchBlobs(ports.db, [digest], now, now), linkBlobs(ports.db, repository, [digest], now)])
  const blob = await findBlob(ports.db, digest)
  if (blob) return blob
  throw new SlipwayError('upstream.busy', `Blob ${digest} was removed as soon as it came: ask again.`)
}

async function bring(ports: Ports, wanted: UpstreamBlobRow): Promise<void> {
  const source = sourceOf(ports, wanted.source)
  if (!source && !(await findBlob(ports.db, wanted.digest))) throw notConfigured(wanted)
  if (!source) return
  const pull: Pull = { source, wanted, until: ports.clock.now() + PORTION_MS, isDirect: false, isLast: false }
  while (!(await findBlob(ports.db, wanted.digest))) {
    const row = await claim(ports, await openPull(ports, wanted))
    if (row) await fetchUnlessHere(ports, pull, row)
    else if (ports.clock.now() >= pull.until) throw busy(wanted.digest)
    else await ports.clock.sleep(POLL_MS)
  }
}

/** Whoever had the claim before us may have brought it between our look and our claim. */
async function fetchUnlessHere(ports: Ports, pull: Pull, row: UploadRow): Promise<void> {
  using writing = await openWriting(ports, row)
  if (!(await findBlob(ports.db, pull.wanted.digest))) return await fetchInto(ports, pull, writing)
  await writing.writer.abort()
  await dropUpload(ports.db, row, ports.clock.now())
}

interface Pull {
  source: Source
  wanted: UpstreamBlobRow
  /** When it is put by. */
  until: number
  /** Past the mirrors: once something went wrong, what one of them gave may be why. */
  isDirect: boolean
  /** Wrong bytes came once already. */
  isLast: boolean
}

/**
 * One row for all who want this digest, whichever repository they want it for. Sizes are what manifests say, which may
 * lie: a row for each, so that a lie costs nothing of what came by the truth.
 */
async function openPull(ports: Ports, { repository, digest, size }: UpstreamBlobRow): Promise<UploadId> {
  const id = `pull-${digestHex(digest)}-${size}` as UploadId
  const expiresAt = ports.clock.now() + UPLOAD_LIFE_MS
  await insertUploads(ports.db, [{ id, repository, objectKey: newObjectKey(ports.random), digest, size: 0, expiresAt }])
  return id
}

/** Leaves the blob in the store, or throws; wrong bytes are thrown away, and asked for once more past the mirrors. */
async function fetchInto(ports: Ports, pull: Pull, writing: Writing): Promise<void> {
  const { digest } = pull.wanted
  try {
    const failure = await fetchAll(ports, pull, writing)
    if (!failure) return await finish(ports, pull.wanted, writing)
    if (failure.code === 'upstream.digest-mismatch') await refuse(ports, writing, digest).catch(() => {})
    else await keep(ports, writing)
    throw failure
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error
    // We were silent for too long, and another process took over.
    if (error.code === 'upload.not-found') throw busy(digest)
    if (error.code !== 'upstream.digest-mismatch' || pull.isLast) throw error
    ports.note('a blob came with wrong bytes: asking the registry itself', { digest, source: pull.wanted.source })
    pull.isDirect = true
    pull.isLast = true
  }
}

/** Goes on where an answer broke off, a few times. Returns why it stopped before the blob's size was reached. */
async function fetchAll(ports: Ports, pull: Pull, writing: Writing): Promise<SlipwayError | undefined> {
  const { source, wanted, until } = pull
  for (let attempt = 1; ; attempt++) {
    const begunAt = writing.size
    const failure = await fetchOnce(ports, pull, writing)
    if (!failure && writing.size === wanted.size) return undefined
    if (failure && failure.code !== 'upload.interrupted') return failure
    if (ports.clock.now() >= until) return busy(wanted.digest)
    const isStuck = attempt >= TRIES && writing.size === begunAt
    if (isStuck || attempt >= TRIES * TRIES) return interrupted(source, wanted, writing, failure)
    pull.isDirect = true
    await ports.clock.sleep(jitter(ports, Math.min(200 * 2 ** attempt, 3000)))
  }
}

async function fetchOnce(ports: Ports, pull: Pull, writing: Writing): Promise<SlipwayError | undefined> {
  const { source, until, isDirect } = pull
  const { digest, size } = pull.wanted
  try {
    const asking = ports.upstreams.blob(source, digest, writing.size, isDirect)
    const { body, start, isResumable } = await whileRenewing(ports, writing, asking)
    const left = { skip: writing.size - start, take: size - writing.size }
    const stopAt = isResumable ? until : Number.POSITIVE_INFINITY
    return await receive(
      ports,
      writing,
      portion(body, left, () => ports.clock.now() >= stopAt),
      STALL_MS,
    )
  } catch (error) {
    if (error instanceof SlipwayError) return error
    throw error
  }
}

async function finish(ports: Ports, { repository, digest }: UpstreamBlobRow, writing: Writing): Promise<void> {
  try {
    await finishWriting(ports, repository as Repository, writing, digest)
  } catch (cause) {
    if (!(cause instanceof SlipwayError) || cause.code !== 'blob.digest-mismatch') throw cause
    throw new SlipwayError(
      'upstream.digest-mismatch',
      `${repository} gave bytes that do not have the digest ${digest}: nothing was kept.`,
    )
  }
}

/** Keeps the claim while an upstream, or its mirrors one after the other, take their time to answer. */
async function whileRenewing<T>(ports: Ports, { row, claim: mine }: Writing, work: Promise<T>): Promise<T> {
  const done = new AbortController()
  const renew = async () => {
    for (;;) {
      await ports.clock.sleep(CLAIM_RENEW_MS, done.signal)
      if (done.signal.aborted) return
      await renewClaim(ports.db, row.id, mine, ports.clock.now())
    }
  }
  renew().catch(() => {}) // The next write finds out that the claim is lost.
  try {
    return await work
  } finally {
    done.abort()
  }
}

function jitter(ports: Ports, ms: number): number {
  const [byte = 0] = ports.random(new Uint8Array(1))
  return ms * (0.5 + byte / 255)
}

function interrupted(source: Source, { size }: UpstreamBlobRow, writing: Writing, cause: unknown): SlipwayError {
  return new SlipwayError(
    'upstream.unreachable',
    `${source.registry} broke off after ${writing.size} of ${size} bytes: what came is kept, ask again.`,
    { cause },
  )
}

function busy(digest: Digest): SlipwayError {
  return new SlipwayError('upstream.busy', `Blob ${digest} is still on its way from its upstream: ask again.`)
}

function notConfigured({ source, digest }: UpstreamBlobRow): SlipwayError {
  return new SlipwayError(
    'upstream.denied',
    `Blob ${digest} would come from ${source}, whose registry is not configured as an upstream any more.`,
  )
}
