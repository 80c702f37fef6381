import { getSystemErrorMap } from 'node:util'
import { SlipwayError } from '#shared/errors.ts'

const NAMES = new Map([...getSystemErrorMap()].map(([number, [name]]) => [-number, name]))
const EDQUOT = 122 // libuv has no name for it.
const FULL = new Set(['ENOSPC', 'EDQUOT'])

export function errnoName(errno: number): string {
  return errno === EDQUOT ? 'EDQUOT' : (NAMES.get(errno) ?? `errno ${errno}`)
}

/** A refused call as an error: `host.disk-full` where space ran out, else `host.kernel-refused` with `facts.errno`. */
export function kernelError(errno: string, doing: string, cause?: unknown): SlipwayError {
  const facts = { errno }
  if (FULL.has(errno)) {
    const message = `The disk of this host is full (${errno} at: ${doing}): remove images or containers, then try again.`
    return new SlipwayError('host.disk-full', message, { cause, facts })
  }
  const message = `The kernel refused to ${doing}: ${errno}. Look at the host's kernel log for the reason.`
  return new SlipwayError('host.kernel-refused', message, { cause, facts })
}

/** Whether it failed since a disk has no room left, whoever says so. */
export function isDiskFull(error: unknown): boolean {
  if (error instanceof SlipwayError && error.code === 'host.disk-full') return true
  if (FULL.has(errnoOf(error) ?? '')) return true
  return error instanceof Error && error.cause !== undefined && isDiskFull(error.cause)
}

/** What a file call of Node threw, as `kernelError` says it; every other value comes back as it is. */
export function asKernelError(error: unknown, doing: string): unknown {
  if (error instanceof SlipwayError) return error
  const errno = errnoOf(error)
  return errno === undefined ? error : kernelError(errno, doing, error)
}

/** `ENOENT` and the like: of a file call's error, or of a SlipwayError that a kernel call made. */
export function errnoOf(error: unknown): string | undefined {
  if (error instanceof SlipwayError) return typeof error.facts.errno === 'string' ? error.facts.errno : undefined
  if (!(error instanceof Error) || !('errno' in error) || typeof error.errno !== 'number') return undefined
  return errnoName(-error.errno)
}
