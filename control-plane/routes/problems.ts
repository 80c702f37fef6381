import { HTTPException } from 'hono/http-exception'
import { ERRORS, type ErrorCode, SlipwayError } from '#shared/errors.ts'
import type { Problem } from '#shared/protocol/problem.ts'

/** Any thrown value as the problem that is answered. What is not ours says nothing of its inside. */
export function problemOf(error: unknown, requestId: string): Problem {
  const known = asSlipwayError(error)
  const { status, retry } = ERRORS[known.code]
  return {
    type: `urn:slipway:error:${known.code}`,
    title: title(known.code),
    status,
    detail: known.message,
    instance: `urn:slipway:request:${requestId}`,
    code: known.code,
    retry,
    ...(Object.keys(known.facts).length > 0 ? { facts: known.facts } : {}),
  }
}

function asSlipwayError(error: unknown): SlipwayError {
  if (error instanceof SlipwayError) return error
  // drizzle puts its own error around what the database threw.
  if (error instanceof Error && error.cause instanceof SlipwayError) return error.cause
  if (error instanceof HTTPException && error.status === 413) return tooLarge()
  if (error instanceof HTTPException && error.status < 500) {
    return new SlipwayError(
      'request.invalid',
      `${error.message || 'The request cannot be read'}: send JSON with Content-Type: application/json.`,
    )
  }
  return new SlipwayError(
    'internal',
    'Something went wrong here, and was logged. Try again; if it stays, report the request id.',
  )
}

export function tooLarge(): SlipwayError {
  return new SlipwayError(
    'request.too-large',
    'The body is larger than 1 MiB: big things go to the blob store, see POST /v1/contexts.',
  )
}

/** `container.name-taken` → `Container name taken`. */
function title(code: ErrorCode): string {
  const words = code.replaceAll(/[.-]/g, ' ')
  return words.charAt(0).toUpperCase() + words.slice(1)
}
