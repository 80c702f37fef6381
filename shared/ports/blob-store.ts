/**
 * Bytes by key: a folder, S3 or R2. Keys are ours (`blobs/sha256/<hex>`, `contexts/<id>`), never a user's text.
 * A write becomes visible whole or not at all. All adapters pass `blob-store.contract.ts`.
 * Errors: `blob.store-failed` when the store does not answer as it should, or not in time: no call waits for ever, and
 * no body. Where a disk is full and that can be told, `host.disk-full`. Nothing else but what a method names.
 */
export interface BlobStore {
  head(key: string): Promise<BlobInfo | undefined>
  /**
   * `range` is inclusive at both ends, as HTTP's, and may go beyond the object's end. Undefined when there is no such
   * key. A body that breaks off fails its reader; it never just ends.
   */
  get(key: string, range?: ByteRange): Promise<{ info: BlobInfo; body: ReadableStream<Uint8Array> } | undefined>
  /**
   * Stores small bytes that the API itself made (configurations, manifests); big ones go through `signUpload` or
   * `openWriter`. Returns whether they were written: false only with `ifAbsent`, when the key was there. Of several
   * such puts at once, one wins.
   */
  put(key: string, bytes: Uint8Array, terms?: PutTerms): Promise<boolean>
  /** Removes the key; one that is not there is no error. */
  delete(key: string): Promise<void>
  /** Keys below a prefix in order, a page of at most 1000 at a time; a page may have fewer. Unfinished writes are not there. */
  list(prefix: string, cursor?: string): Promise<{ keys: string[]; cursor: string | undefined }>
  /**
   * A URL that takes a PUT of these bytes until `expiresMs` from now. With `sha256` the store refuses other bytes
   * where it can check: see the adapter. `head` tells the digest where the store knows it; who reads verifies all the same.
   */
  signUpload(key: string, terms: UploadTerms): Promise<SignedUpload>
  /** A URL that answers GET with the bytes, ranges too, until `expiresMs` from now. */
  signDownload(key: string, expiresMs: number): Promise<string>
  /** Whether any client reaches the store's signed URLs; else the API passes the bytes on itself (a folder). */
  readonly isDirect: boolean
  /**
   * Begins an object that is written piece by piece, or goes on with one from the `state` that `suspend` returned, in
   * this process or another. What was written after that state is forgotten, and older states are given up.
   * One writer at a time for a key. `blob.not-found`, here or at a later call, when what the state names is gone.
   */
  openWriter(key: string, state?: WriterState): Promise<BlobWriter>
  /** For what is too large for one PUT, or to be sent anew when a line breaks. */
  readonly parts: SignedParts
}

/**
 * Objects that come in parts by signed URLs: in any order, several at once, each as often as it takes. Invisible until
 * `join`. Parts are of one size but the last, which may be smaller; S3 takes 10,000 of 5 MiB to 5 GiB.
 */
export interface SignedParts {
  /** Begins an upload; returns its id, at most 1 KiB. */
  begin(key: string): Promise<string>
  /** A URL that takes a PUT of exactly one part. Its answer's `ETag` is the part's tag. */
  sign(key: string, id: string, part: SignedPart): Promise<SignedUpload>
  /**
   * Makes the object of the parts with these tags, in this order; `size` is its whole. No digest is checked. Again, it is
   * no error. `blob.not-found` when the upload is gone or lacks bytes.
   */
  join(key: string, id: string, tags: readonly string[], size: number): Promise<void>
  /** Removes an upload and what came of it; one that is gone is no error. */
  drop(key: string, id: string): Promise<void>
}

export interface SignedPart {
  /** Counts from 1. */
  number: number
  /** Where its bytes lie in the object, and how many they are. */
  offset: number
  size: number
  expiresMs: number
}

/** Opaque to callers: what an adapter needs to go on. JSON, at most 2 KiB whatever the object's size. */
export type WriterState = string & { readonly __writerState: true }

/** An object on its way: invisible until `complete`. Holds at most 16 MiB in memory, whatever the object's size. */
export interface BlobWriter {
  /**
   * Takes the next bytes. Resolves when more may come: waiting for it is the flow control. The buffer may be reused then.
   * `request.too-large` beyond what the store can hold in one object. After an error only `suspend` and `abort` are left.
   */
  write(bytes: Uint8Array): Promise<void>
  /**
   * Makes what was written last, and ends this writer: `openWriter` goes on from the state, and `abort` needs it. It ends
   * the writer also when it fails: then the state that it was opened from is still good, and without one nothing stays.
   */
  suspend(): Promise<WriterState>
  /** Makes the object visible under its key, whole and durable, and ends this writer. */
  complete(): Promise<void>
  /** Removes what was written and ends this writer. Does nothing after `suspend`, `complete` or another `abort`. */
  abort(): Promise<void>
}

export interface BlobInfo {
  /** Bytes of the whole object. */
  size: number
  /** Hex. Only from `head`, and only where the store itself checked it while the bytes came. */
  sha256?: string
}

export interface PutTerms {
  /** Never replaces what is there. */
  ifAbsent?: boolean
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
  /** What a power failure takes is sent again: a store that is a folder does not wait for its disk. */
  mayBeLost?: boolean
}

export interface SignedUpload {
  url: string
  /** Headers that the uploader must send with the PUT. */
  headers: Record<string, string>
}
