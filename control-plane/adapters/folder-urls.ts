import { createHmac, timingSafeEqual } from 'node:crypto'
import { SlipwayError } from '#shared/errors.ts'
import type { UploadTerms } from '#shared/ports/blob-store.ts'
import type { Clock } from '#shared/ports/clock.ts'

export type BlobMethod = 'GET' | 'PUT'

/** What a URL was signed for. */
export interface UrlTerms extends UploadTerms {
  /** The bytes belong at `offset` of an upload in parts. */
  part?: { id: string; offset: number }
}

export interface SignedUrls {
  sign(method: BlobMethod, key: string, terms: UrlTerms): string
  /** Checks a signed URL's query for a method and key; throws `blob.url-invalid`. */
  verify(method: BlobMethod, key: string, query: URLSearchParams): UrlTerms
}

export interface SignedUrlOptions {
  /** Signs URLs; keep it secret, and the same over restarts. */
  secret: Buffer
  publicUrl: string
  clock: Clock
}

/** URLs below `/blobs/` whose query holds what may be done, until when, and the proof that we said so. */
export function signedUrls({ secret, publicUrl, clock }: SignedUrlOptions): SignedUrls {
  const seal = (method: BlobMethod, key: string, query: URLSearchParams) =>
    createHmac('sha256', secret).update(`${method}\n${key}\n${query}`).digest('hex')
  return {
    sign: (method, key, terms) => {
      const query = new URLSearchParams({ expires: String(clock.now() + terms.expiresMs) })
      if (terms.size !== undefined) query.set('size', String(terms.size))
      if (terms.maxSize !== undefined) query.set('max', String(terms.maxSize))
      if (terms.sha256 !== undefined) query.set('sha256', terms.sha256)
      if (terms.mayBeLost) query.set('lost', 'may')
      if (terms.part !== undefined) {
        query.set('part', terms.part.id)
        query.set('offset', String(terms.part.offset))
      }
      query.set('signature', seal(method, key, query))
      return `${publicUrl}/blobs/${key}?${query}`
    },
    verify: (method, key, query) => {
      const given = Buffer.from(query.get('signature') ?? '')
      const unsigned = new URLSearchParams([...query].filter(([name]) => name !== 'signature'))
      const right = Buffer.from(seal(method, key, unsigned))
      const isRight = given.length === right.length && timingSafeEqual(given, right)
      if (!isRight || Number(query.get('expires')) < clock.now()) throw invalid()
      return termsOf(query)
    },
  }
}

function invalid(): SlipwayError {
  const message = 'This URL is not signed by us for this, or has expired: ask the API for a new one.'
  return new SlipwayError('blob.url-invalid', message)
}

function termsOf(query: URLSearchParams): UrlTerms {
  const sha256 = query.get('sha256')
  const part = query.get('part')
  return {
    expiresMs: 0,
    ...(query.has('size') ? { size: Number(query.get('size')) } : {}),
    ...(query.has('max') ? { maxSize: Number(query.get('max')) } : {}),
    ...(sha256 === null ? {} : { sha256 }),
    ...(query.has('lost') ? { mayBeLost: true } : {}),
    ...(part === null ? {} : { part: { id: part, offset: Number(query.get('offset')) } }),
  }
}
