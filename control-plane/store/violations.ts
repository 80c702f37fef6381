/**
 * The columns of a unique index that a write ran against (`containers.name`), undefined for any other failure.
 * SQLite says it in words only, and drizzle wraps those words: this is the one place that reads them.
 */
export function uniqueViolation(error: unknown): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    const found = /UNIQUE constraint failed: ([\w., ]+)/.exec(cause.message)
    if (found?.[1]) return found[1].replace(/: .*/, '').trim()
  }
  return undefined
}
