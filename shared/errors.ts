/**
 * Every failure that a person or a program may meet, in one table: the HTTP status it is answered with and whether
 * trying again later can help. Codes are the contract; sentences may change. Never match on a message.
 */
export interface ErrorKind {
  status: number
  retry: boolean
}

export const ERRORS = {
  // requests
  'request.invalid': { status: 400, retry: false },
  'request.too-large': { status: 413, retry: false },
  'request.not-found': { status: 404, retry: false },
  'request.method-not-allowed': { status: 405, retry: false },
  'request.upgrade-required': { status: 426, retry: false },
  'request.timeout': { status: 504, retry: true },
  'idempotency.key-invalid': { status: 400, retry: false },
  'idempotency.key-reused': { status: 422, retry: false },
  'idempotency.secret-shown-once': { status: 409, retry: false },
  'auth.token-missing': { status: 401, retry: false },
  'auth.token-invalid': { status: 401, retry: false },
  'auth.forbidden': { status: 403, retry: false },
  'token.not-found': { status: 404, retry: false },
  'cursor.invalid': { status: 400, retry: false },
  // hosts
  'host.not-found': { status: 404, retry: false },
  'host.name-taken': { status: 409, retry: false },
  'host.in-use': { status: 409, retry: false },
  'host.none-ready': { status: 503, retry: true },
  'host.unreachable': { status: 503, retry: true },
  'host.addresses-exhausted': { status: 507, retry: false },
  'host.disk-full': { status: 507, retry: true },
  'host.storage-unusable': { status: 500, retry: false },
  'host.unable': { status: 422, retry: false },
  'host.kernel-refused': { status: 500, retry: true },
  'host.command-failed': { status: 500, retry: true },
  // blobs and images
  'cache-mount.not-found': { status: 404, retry: false },
  'blob.not-found': { status: 404, retry: false },
  'blob.in-use': { status: 405, retry: false },
  'blob.digest-mismatch': { status: 400, retry: false },
  'blob.size-mismatch': { status: 400, retry: false },
  'blob.url-invalid': { status: 403, retry: false },
  'blob.store-failed': { status: 502, retry: true },
  'repository.name-invalid': { status: 400, retry: false },
  'repository.not-found': { status: 404, retry: false },
  'manifest.not-found': { status: 404, retry: false },
  'manifest.invalid': { status: 400, retry: false },
  'manifest.blob-unknown': { status: 400, retry: false },
  'manifest.in-use': { status: 405, retry: false },
  'manifest.too-large': { status: 413, retry: false },
  'digest.invalid': { status: 400, retry: false },
  'upload.not-found': { status: 404, retry: false },
  'upload.out-of-order': { status: 416, retry: false },
  'upload.busy': { status: 409, retry: true },
  'upload.interrupted': { status: 400, retry: true },
  'image.not-found': { status: 404, retry: false },
  'image.reference-invalid': { status: 400, retry: false },
  'image.manifest-invalid': { status: 400, retry: false },
  'image.wrong-architecture': { status: 422, retry: false },
  'image.in-use': { status: 409, retry: false },
  'layer.invalid': { status: 400, retry: false },
  'layer.digest-mismatch': { status: 400, retry: true },
  // registries that are pulled through
  'upstream.config-invalid': { status: 500, retry: false },
  'upstream.not-found': { status: 404, retry: false },
  'upstream.denied': { status: 403, retry: false },
  'upstream.rate-limited': { status: 429, retry: true },
  'upstream.unreachable': { status: 503, retry: true },
  'upstream.answer-invalid': { status: 502, retry: true },
  'upstream.digest-mismatch': { status: 502, retry: true },
  'upstream.busy': { status: 503, retry: true },
  'upstream.read-only': { status: 403, retry: false },
  // secrets
  'secret.not-found': { status: 404, retry: false },
  'secret.key-missing': { status: 501, retry: false },
  'secret.key-wrong': { status: 500, retry: false },
  // contexts and builds
  'context.not-found': { status: 404, retry: false },
  'context.not-uploaded': { status: 409, retry: true },
  'context.unsafe-path': { status: 422, retry: false },
  'context.invalid': { status: 422, retry: false },
  'source.fetch-failed': { status: 502, retry: true },
  'source.not-found': { status: 422, retry: false },
  'source.refused': { status: 422, retry: false },
  'source.digest-mismatch': { status: 422, retry: false },
  'build.not-found': { status: 404, retry: false },
  'build.taken': { status: 409, retry: false },
  'build.finished': { status: 409, retry: false },
  'build.dockerfile-missing': { status: 422, retry: false },
  'build.dockerfile-invalid': { status: 422, retry: false },
  'build.instruction-unsupported': { status: 422, retry: false },
  'build.target-not-found': { status: 422, retry: false },
  'build.source-not-found': { status: 422, retry: false },
  'build.step-failed': { status: 422, retry: false },
  'build.secret-missing': { status: 422, retry: false },
  'build.not-allowed': { status: 403, retry: false },
  'build.warned': { status: 422, retry: false },
  'build.canceled': { status: 409, retry: false },
  'build.memory-exceeded': { status: 422, retry: false },
  'build.disk-exceeded': { status: 422, retry: false },
  'build.timed-out': { status: 422, retry: false },
  'build.cache-lost': { status: 500, retry: true },
  'build.attempts-exhausted': { status: 500, retry: false },
  'build.no-host': { status: 503, retry: true },
  // webhooks
  'hook.not-found': { status: 404, retry: false },
  'hook.name-taken': { status: 409, retry: false },
  'hook.signature-invalid': { status: 401, retry: false },
  'hook.busy': { status: 503, retry: true },
  'hook.payload-invalid': { status: 400, retry: false },
  'forge.unreachable': { status: 503, retry: true },
  // containers
  'container.not-found': { status: 404, retry: false },
  'container.name-taken': { status: 409, retry: false },
  'container.running': { status: 409, retry: false },
  'container.not-running': { status: 409, retry: false },
  'container.removing': { status: 409, retry: false },
  'container.kept': { status: 409, retry: false },
  'container.waiting': { status: 503, retry: true },
  'container.dependency-failed': { status: 409, retry: false },
  'container.dependency-elsewhere': { status: 422, retry: false },
  'container.health-check-missing': { status: 409, retry: false },
  'container.memory-exceeded': { status: 500, retry: false },
  'container.memory-in-use': { status: 503, retry: true },
  'container.command-missing': { status: 422, retry: false },
  'container.command-not-found': { status: 422, retry: false },
  'container.command-not-executable': { status: 422, retry: false },
  'container.user-not-found': { status: 422, retry: false },
  'container.files-unsafe': { status: 422, retry: false },
  'container.start-failed': { status: 500, retry: true },
  'container.logs-unavailable': { status: 404, retry: false },
  'container.files-unavailable': { status: 404, retry: false },
  'container.files-in-use': { status: 409, retry: true },
  'container.paused': { status: 409, retry: false },
  'exec.not-found': { status: 404, retry: false },
  'exec.ended': { status: 409, retry: false },
  'exec.no-terminal': { status: 409, retry: false },
  'exec.too-many': { status: 429, retry: true },
  'exec.taken-over': { status: 409, retry: false },
  'port.taken': { status: 409, retry: false },
  'port.taken-on-host': { status: 409, retry: true },
  // the system itself
  'bus.unavailable': { status: 503, retry: true },
  'store.unavailable': { status: 503, retry: true },
  internal: { status: 500, retry: true },
} as const satisfies Record<string, ErrorKind>

export type ErrorCode = keyof typeof ERRORS

export interface ErrorDetails {
  cause?: unknown
  /** Machine-readable facts for the reader: `{ line, column }`, `{ heldBy }`. Never a secret. */
  facts?: Record<string, unknown>
}

/** A failure with a code of the table. Its message is one sentence that says what is wrong and what to do. */
export class SlipwayError extends Error {
  readonly code: ErrorCode
  readonly facts: Record<string, unknown>

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.name = 'SlipwayError'
    this.code = code
    this.facts = details.facts ?? {}
  }

  get status(): number {
    return ERRORS[this.code].status
  }

  get retry(): boolean {
    return ERRORS[this.code].retry
  }
}

export const ERROR_CODES = Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]]

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERRORS, value)
}

/** What crosses a process: a code, a sentence and facts; no stack, no cause. */
export interface Fault {
  code: ErrorCode
  message: string
  facts?: Record<string, unknown> | undefined
}

/** Any thrown value as a fault. What is not ours becomes `internal`, with its message kept for the reader. */
export function toFault(error: unknown): Fault {
  if (error instanceof SlipwayError) return { code: error.code, message: error.message, facts: error.facts }
  return { code: 'internal', message: error instanceof Error ? error.message : String(error) }
}

/** Compile-time proof that a switch over a union forgot no case. */
export function unreachable(value: never): never {
  throw new SlipwayError('internal', `A case was forgotten: ${JSON.stringify(value)}.`)
}
