import { SlipwayError } from '#shared/errors.ts'

/** What is assumed where the registry does not say when to come again. */
const UNKNOWN_S = 60
const LONGEST_S = 24 * 60 * 60

/** A 429 as an error that says when to come again and what helps. `facts`: `retryAfterS`, `limit`, `windowS`. */
export function rateLimited(
  registry: string,
  headers: Headers,
  retryAfterS: number,
  hasCredentials: boolean,
): SlipwayError {
  const { limit, windowS } = readLimit(headers.get('ratelimit-limit'))
  const allowance = limit === undefined ? '' : ` It allows ${limit} pulls${windowS ? ` in ${windowS / 3600} h` : ''}.`
  const advice = hasCredentials ? 'The account in use has reached its limit.' : 'With credentials it allows more.'
  return new SlipwayError(
    'upstream.rate-limited',
    `${registry} takes no more requests from here for now: try again in ${retryAfterS} s.${allowance} ${advice}`,
    { facts: { registry, retryAfterS, ...(limit === undefined ? {} : { limit }), ...(windowS ? { windowS } : {}) } },
  )
}

/** Seconds, or an HTTP date (RFC 9110 §10.2.3), as seconds from now; a guess where it is neither. */
export function readRetryAfter(text: string | null, now: number): number {
  const seconds = /^\d+$/.test(text ?? '') ? Number(text) : Math.ceil((Date.parse(text ?? '') - now) / 1000)
  return Number.isFinite(seconds) ? Math.min(Math.max(seconds, 1), LONGEST_S) : UNKNOWN_S
}

/** Docker's Hub: `ratelimit-limit: 100;w=21600`, pulls in a window of seconds. */
function readLimit(text: string | null): { limit: number | undefined; windowS: number | undefined } {
  const [, count, windowS] = /^(\d{1,9})(?:;w=(\d{1,9}))?/.exec(text ?? '') ?? []
  return { limit: count ? Number(count) : undefined, windowS: windowS ? Number(windowS) : undefined }
}
