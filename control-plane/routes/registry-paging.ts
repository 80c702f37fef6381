import { SlipwayError } from '#shared/errors.ts'

const PAGE = 1000

/** `n` of a list: at most 1000, which is the default as well. */
export function pageSize(text: string | undefined): number {
  if (text === undefined) return PAGE
  const size = Number(text)
  if (!Number.isInteger(size) || size < 0) throw new SlipwayError('request.invalid', 'n must be a whole number.')
  return Math.min(size, PAGE)
}

/** RFC 8288, as the specification has it: a path and `rel="next"`. */
export function linkTo(path: string, query: Record<string, string>): string {
  return `<${path}?${new URLSearchParams(query)}>; rel="next"`
}
