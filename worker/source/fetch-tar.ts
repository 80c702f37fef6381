import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { isLocalHost } from '#shared/domain/local-host.ts'
import { SlipwayError } from '#shared/errors.ts'
import { extractContext } from '../layer/context.ts'
import type { TarLimits } from '../layer/layer-writer.ts'

export interface TarFetch {
  /** For the bytes as they come, removed at the end. */
  file: string
  /** An empty folder: gets the files. */
  into: string
  limits: TarLimits
  signal: AbortSignal
}

const MAX_HOPS = 5
const TRANSFER_MS = 30 * 60_000
/** As an uploaded context. */
const MAX_BYTES = 2 * 1024 ** 3

/**
 * The files of a tar behind a URL. An operator may name a server of a private network; a redirect leads there from such a
 * server alone, and never from https to http. Returns the SHA-256 of the tar as it came, in hex. Errors: `source.fetch-failed`, `source.refused`, `source.digest-mismatch`,
 * `request.too-large`, those of `extractContext`.
 */
export async function fetchTar(url: string, sha256: string | undefined, fetch: TarFetch): Promise<string> {
  const { file, into, limits } = fetch
  const signal = AbortSignal.any([fetch.signal, AbortSignal.timeout(TRANSFER_MS)])
  await using undo = new AsyncDisposableStack()
  undo.defer(() => rm(file, { force: true }))
  const digest = await download(await answerOf(new URL(url), signal), file, signal)
  if (sha256 !== undefined && digest !== sha256) {
    throw new SlipwayError('source.digest-mismatch', `The tar has SHA-256 ${digest}, not ${sha256}.`)
  }
  await extractContext(createReadStream(file, { signal }), into, limits)
  return digest
}

async function answerOf(asked: URL, signal: AbortSignal): Promise<Response> {
  let url = asked
  for (let hop = 0; hop <= MAX_HOPS; hop++) {
    const response = await fetch(url, { redirect: 'manual', signal }).catch((cause: unknown) => {
      if (signal.aborted) throw cause
      throw failed(url, 'does not answer', cause)
    })
    if (response.ok) return response
    await response.body?.cancel()
    const location = response.headers.get('location')
    if (response.status < 300 || response.status > 399 || location === null) {
      throw failed(url, `answered ${response.status}`)
    }
    url = redirectTo(location, url, asked)
  }
  throw failed(asked, `led us on more than ${MAX_HOPS} times`)
}

/** Where a redirect may send us. Errors: `source.refused`. */
export function redirectTo(location: string, from: URL, asked: URL): URL {
  const url = URL.canParse(location, from.href) ? new URL(location, from) : undefined
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && asked.protocol === 'http:')
  const isKnown = url !== undefined && (!isLocalHost(url.hostname) || isLocalHost(asked.hostname))
  if (url && isSafe && isKnown && url.username === '' && url.password === '') return url
  throw new SlipwayError('source.refused', `${asked.host} sends us to an address that is not followed.`)
}

/** Returns the SHA-256 of what came, in hex. */
async function download(response: Response, file: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  let size = 0
  const bytes = response.body as unknown as AsyncIterable<Uint8Array> | null
  const counted = async function* () {
    for await (const chunk of bytes ?? []) {
      size += chunk.length
      if (size > MAX_BYTES) throw new SlipwayError('request.too-large', `The tar has more than ${MAX_BYTES} bytes.`)
      hash.update(chunk)
      yield chunk
    }
  }
  try {
    await pipeline(counted, createWriteStream(file, { mode: 0o600 }), { signal })
  } catch (cause) {
    if (cause instanceof SlipwayError || signal.aborted || (cause as NodeJS.ErrnoException).code === 'ENOSPC')
      throw cause
    throw failed(new URL(response.url), 'broke off', cause)
  }
  return hash.digest('hex')
}

function failed(url: URL, why: string, cause?: unknown): SlipwayError {
  return new SlipwayError('source.fetch-failed', `${url.origin}${url.pathname} ${why}.`, { cause })
}
