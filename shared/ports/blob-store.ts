/**
 * Bytes by key: a folder, S3 or R2. Keys are ours (`blobs/sha256/<hex>`, `contexts/<id>`), never a user's text.
 * A write becomes visible whole or not at all. All adapters pass `blob-store.contract.ts`.
 * Errors: `blob.store-failed` when the store does not answer as it should; nothing else.
 */
export interface BlobStore {
  head(key: string): Promise<BlobInfo | undefined>
  /** `range` is inclusive at both ends, as HTTP's. Undefined when there is no such key. */
  get(key: string, range?: ByteRange): Promise<{ info: BlobInfo; body: ReadableStream<Uint8Array> } | undefined>
  /** Stores small bytes that the API itself made (configurations, manifests); big ones go through `signUpload`. */
  put(key: string, bytes: Uint8Array): Promise<void>
  /** Removes the key; one that is not there is no error. */
  delete(key: string): Promise<void>
  /** Keys below a prefix in order, a page of at most 1000 at a time. */
  list(prefix: string, cursor?: string): Promise<{ keys: string[]; cursor: string | undefined }>
  /**
   * A URL that takes one PUT of these bytes until `expiresMs` from now. With `sha256` the store refuses other bytes
   * (where it can check: see the adapter); readers verify all the same.
   */
  signUpload(key: string, terms: UploadTerms): Promise<SignedUpload>
  /** A URL that answers GET with the bytes, ranges too, until `expiresMs` from now. */
  signDownload(key: string, expiresMs: number): Promise<string>
}

export interface BlobInfo {
  size: number
}

export interface ByteRange {
  start: number
  end: number
}

export interface UploadTerms {
  expiresMs: number
  /** Exact size in bytes where it is known. */
  size?: number
  /** Hex. */
  sha256?: string
  maxSize?: number
}

export interface SignedUpload {
  url: string
  /** Headers that the uploader must send with the PUT. */
  headers: Record<string, string>
}
