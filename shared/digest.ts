import { z } from 'zod'
import { SlipwayError } from './errors.ts'

/** `sha256:` and 64 lower-case hex digits (OCI image-spec, descriptor.md, "Digests"). */
export type Digest = string & { readonly __digest: true }

const PATTERN = /^sha256:[0-9a-f]{64}$/

export const digestSchema = z
  .string()
  .regex(PATTERN, 'a digest is sha256: and 64 lower-case hex digits')
  .transform(text => text as Digest)

export function isDigest(text: string): text is Digest {
  return PATTERN.test(text)
}

export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text
  throw new SlipwayError('request.invalid', `${JSON.stringify(text)} is no digest: use sha256: and 64 hex digits.`)
}

export function digestFromHex(hex: string): Digest {
  return parseDigest(`sha256:${hex}`)
}

/** The 64 hex digits alone, as file and object names use them. */
export function digestHex(digest: Digest): string {
  return digest.slice('sha256:'.length)
}

/** SHA-256 of bytes in memory, through WebCrypto so that it runs on Node and on workerd alike. */
export async function digestOf(bytes: Uint8Array | string): Promise<Digest> {
  const data = typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', data as Uint8Array<ArrayBuffer>))
  return digestFromHex(Array.from(hash, byte => byte.toString(16).padStart(2, '0')).join(''))
}
