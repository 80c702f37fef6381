import type { Random } from '#shared/domain/ids.ts'

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

/** A new object's name. The store's rows say which digest it has: no two objects ever share a name, not even over time. */
export function newObjectKey(random: Random): string {
  const name = Array.from(random(new Uint8Array(26)), byte => ALPHABET[byte & 31]).join('')
  return `blobs/${name.slice(0, 2)}/${name}`
}

/** An upload session nobody wrote to for this long is removed. */
export const UPLOAD_LIFE_MS = 24 * 60 * 60 * 1000

/** For how long a signed URL works: long enough for a big layer on a slow line. */
export const SIGNED_URL_MS = 60 * 60 * 1000
