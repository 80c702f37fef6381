import { openAsBlob } from 'node:fs'
import PQueue from 'p-queue'
import pRetry from 'p-retry'
import type { Digest } from '#shared/digest.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { SignedUpload } from '#shared/ports/blob-store.ts'
import type { BlobParts, MissingBlob } from '#shared/protocol/agent.ts'

/** With the waits in between, half a minute. */
export const PATIENCE = { retries: 8, minTimeout: 250, maxTimeout: 8000, randomize: true }
/** Of one blob; a build uploads a few blobs at a time. */
const PARTS_AT_ONCE = 4

/** One attempt each, with a deadline; each throws a SlipwayError. */
export interface UploadCalls {
  signPart(digest: Digest, number: number): Promise<SignedUpload>
  partCame(digest: Digest, number: number, tag: string): Promise<void>
  blobCame(digest: Digest): Promise<void>
  /** A PUT to a signed URL; returns the answer's `ETag`. */
  send(upload: SignedUpload, body: Blob, signal: AbortSignal): Promise<string | undefined>
}

/** Sends a file whole, or its missing parts side by side; each is tried again alone, and read from the file as it goes. */
export async function uploadBlob(
  calls: UploadCalls,
  blob: MissingBlob,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  const file = await openAsBlob(path)
  if ('upload' in blob) await patiently(signal, () => calls.send(blob.upload, file, signal))
  else await sendParts(calls, blob.digest, blob.parts, file, signal)
  await patiently(signal, () => calls.blobCame(blob.digest))
}

async function sendParts(
  calls: UploadCalls,
  digest: Digest,
  { bytes, missing }: BlobParts,
  file: Blob,
  signal: AbortSignal,
): Promise<void> {
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const parts = new PQueue({ concurrency: PARTS_AT_ONCE })
  const sendPart = async (number: number) => {
    const slice = file.slice((number - 1) * bytes, number * bytes)
    // Signed each time anew: a URL may have expired meanwhile.
    const tag = await patiently(either, async () => calls.send(await calls.signPart(digest, number), slice, either))
    if (tag === undefined) throw new SlipwayError('blob.store-failed', 'The store gave a part no tag (ETag).')
    await patiently(either, () => calls.partCame(digest, number, tag))
  }
  try {
    await Promise.all(missing.map(number => parts.add(() => sendPart(number), { signal: either })))
  } catch (error) {
    failed.abort(error) // The others would go on for nothing.
    throw error
  }
}

/** Tried again after what says of itself that it passes: a line that broke, an API or a store that was away. */
function patiently<T>(signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
  return pRetry(attempt, {
    ...{ ...PATIENCE, signal },
    shouldRetry: ({ error }) => error instanceof SlipwayError && error.retry,
  })
}
