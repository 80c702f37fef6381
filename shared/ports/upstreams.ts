import type { Digest } from '../digest.ts'
import type { Mirrored, Upstream } from '../domain/upstream.ts'

/**
 * Registries of other people, those that are configured and no other. What comes from them is unverified unless it says
 * otherwise. Every call has a deadline and tries an upstream's endpoints in order. Errors: `upstream.not-found`,
 * `upstream.denied`, `upstream.rate-limited` with `facts.retryAfterS`, `upstream.unreachable`,
 * `upstream.answer-invalid`, `upstream.digest-mismatch`.
 */
export interface Upstreams {
  /** Undefined for a registry that is not configured: it is never asked anything. */
  find(registry: string): Upstream | undefined
  /** What a tag names now; undefined where the upstream does not say. Docker's Hub does not count it as a pull. */
  tagDigest(at: Mirrored, tag: string, known: Digest): Promise<Digest | undefined>
  /** A manifest or index by tag or digest, at most 4 MiB, verified. */
  manifest(at: Mirrored, reference: string): Promise<UpstreamManifest>
  /**
   * A blob's bytes from an offset on where the upstream can do that, else from the start. `isDirect`: from the registry
   * itself, after a mirror gave what was not right.
   */
  blob(at: Mirrored, digest: Digest, from: number, isDirect: boolean): Promise<UpstreamBlob>
}

export interface UpstreamManifest {
  digest: Digest
  mediaType: string
  /** The exact bytes that the digest is of. */
  bytes: Uint8Array<ArrayBuffer>
}

export interface UpstreamBlob {
  body: ReadableStream<Uint8Array>
  /** Where the body begins: what was asked for, or 0. */
  start: number
  /** Whether a later call may go on where this one stops. */
  isResumable: boolean
}
