import { SlipwayError } from '#shared/errors.ts'
import type { ForgeApi } from '#shared/ports/forge-api.ts'
import { readBounded } from '#shared/read-bounded.ts'

const CALL_MS = 5000
/** Of an answer, which is for people to read. */
const ANSWER_BYTES = 64 * 1024

/** Over fetch. A token goes where it was meant to and no further: redirects are answers. */
export function httpForgeApi(): ForgeApi {
  return {
    post: async (url, headers, body) => {
      try {
        const response = await fetch(url, {
          method: 'POST',
          redirect: 'manual',
          headers: { 'user-agent': 'slipway', 'content-type': 'application/json', ...headers },
          body: JSON.stringify(body),
          signal: AbortSignal.timeout(CALL_MS),
        })
        const bytes = await readBounded(response.body, ANSWER_BYTES)
        return { status: response.status, text: new TextDecoder().decode(bytes) }
      } catch (cause) {
        throw new SlipwayError('forge.unreachable', `${new URL(url).host} does not answer.`, { cause })
      }
    },
  }
}
