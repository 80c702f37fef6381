import type { Context } from 'hono'
import type { ErrorCode } from '#shared/errors.ts'
import type { Problem } from '#shared/protocol/problem.ts'
import type { AppEnv } from './environment.ts'
import { challengeOf } from './registry-token.ts'

/** distribution-spec 1.1, "Error Codes", and TOOMANYREQUESTS' neighbours of Docker's own registry. */
const OCI_CODES: Partial<Record<ErrorCode, string>> = {
  'auth.token-missing': 'UNAUTHORIZED',
  'auth.token-invalid': 'UNAUTHORIZED',
  'auth.forbidden': 'DENIED',
  'repository.name-invalid': 'NAME_INVALID',
  'repository.not-found': 'NAME_UNKNOWN',
  'manifest.not-found': 'MANIFEST_UNKNOWN',
  'manifest.invalid': 'MANIFEST_INVALID',
  'manifest.too-large': 'SIZE_INVALID',
  'manifest.blob-unknown': 'MANIFEST_BLOB_UNKNOWN',
  'digest.invalid': 'DIGEST_INVALID',
  'blob.digest-mismatch': 'DIGEST_INVALID',
  'blob.size-mismatch': 'SIZE_INVALID',
  'blob.not-found': 'BLOB_UNKNOWN',
  'blob.in-use': 'UNSUPPORTED',
  'manifest.in-use': 'UNSUPPORTED',
  'upload.not-found': 'BLOB_UPLOAD_UNKNOWN',
  'upload.out-of-order': 'BLOB_UPLOAD_INVALID',
  'upload.busy': 'BLOB_UPLOAD_INVALID',
  'upload.interrupted': 'BLOB_UPLOAD_INVALID',
  'request.method-not-allowed': 'UNSUPPORTED',
  'request.not-found': 'NAME_INVALID',
  'request.invalid': 'UNSUPPORTED',
  'upstream.not-found': 'MANIFEST_UNKNOWN',
  'upstream.denied': 'DENIED',
  'upstream.read-only': 'DENIED',
  'upstream.rate-limited': 'TOOMANYREQUESTS',
}

/** A problem as clients of registries read it; our own code goes along in `detail`. */
export function registryErrors({ code, detail, facts, instance }: Problem): object {
  const known = OCI_CODES[code as ErrorCode] ?? 'UNKNOWN'
  return { errors: [{ code: known, message: detail, detail: { code, request: instance, ...facts } }] }
}

export function isRegistryPath(path: string): boolean {
  return path === '/v2' || path.startsWith('/v2/')
}

/** What an error's answer bears besides its body. */
export function registryHeaders(c: Context<AppEnv>, { status, facts }: Problem): Record<string, string> {
  const headers = { 'content-type': 'application/json', 'docker-distribution-api-version': 'registry/2.0' }
  if (status === 401) return { ...headers, 'www-authenticate': challengeOf(c) }
  if (status === 416) return { ...headers, ...uploadProgress(c.req.path, Number(facts?.size ?? 0)) }
  return headers
}

/**
 * How far an upload is, and where it goes on: what a 416 says as well (distribution-spec 1.1, "Pushing a blob in chunks",
 * with the headers that Docker's registry gives). `Range: 0-0` says both nothing and one byte; clients know which.
 */
export function uploadProgress(location: string, size: number): Record<string, string> {
  const id = location.slice(location.lastIndexOf('/') + 1)
  return { location, range: `0-${Math.max(0, size - 1)}`, 'docker-upload-uuid': id }
}
