import type { ErrorCode } from '#shared/errors.ts'
import type { Problem } from '#shared/protocol/problem.ts'

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
