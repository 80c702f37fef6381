import { type Digest, digestHex } from '#shared/digest.ts'

/** Where blobs live in the store: by digest alone, whatever image or repository names them. */
export function blobKey(digest: Digest): string {
  return `blobs/sha256/${digestHex(digest)}`
}

/** For how long a signed URL works: long enough for a big layer on a slow line. */
export const SIGNED_URL_MS = 60 * 60 * 1000
