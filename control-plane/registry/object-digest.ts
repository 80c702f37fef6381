import { createHash } from 'node:crypto'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import type { BlobStore } from '#shared/ports/blob-store.ts'

/**
 * Reads an object for its digest: one that several requests wrote, since no hash can be carried over between them on
 * every platform, or one that a client brought to a store that does not check. Undefined when there is none.
 */
export async function digestOfObject(blobs: BlobStore, objectKey: string): Promise<Digest | undefined> {
  const found = await blobs.get(objectKey)
  if (!found) return undefined
  const hash = createHash('sha256')
  for await (const chunk of found.body) hash.update(chunk)
  return digestFromHex(hash.digest('hex'))
}
