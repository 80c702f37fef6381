import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import * as http from 'node:http'
import * as https from 'node:https'
import type { LookupFunction } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { isLocalHost } from '#shared/domain/local-host.ts'
import { SlipwayError } from '#shared/errors.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import { extractContext } from '../layer/context.ts'
import type { TarLimits } from '../layer/layer-writer.ts'
import { type Address, addressesWithin, isLocal, type Reach, type Resolve } from './reach.ts'

export interface TarFetch {
  /** For the bytes as they come, removed at the end. */
  file: string
  /** An empty folder: gets the files. */
  into: string
  limits: TarLimits
  signal: AbortSignal
  /** Left out: the system's. */
  resolve?: Resolve
}

const MAX_HOPS = 5
const TRANSFER_MS = 30 * 60_000
/** As an uploaded context. */
const MAX_BYTES = 2 * 1024 ** 3

/**
 * The files of a tar behind a URL. An operator may name a server of a private network; a redirect leads there from such a
 * server alone, whatever its name, and never from https to http. Returns the SHA-256 of the tar as it came, in hex. Errors: `source.fetch-failed`, `source.refused`, `source.digest-mismatch`,
 * `request.too-large`, those of `extractContext`.
 */
export async function fetchTar(url: string, sha256: string | undefined, fetch: TarFetch): Promise<string> {
  const { file, into, limits } = fetch
  const signal = AbortSignal.any([fetch.signal, AbortSignal.timeout(TRANSFER_MS)])
  await using undo = new AsyncDisposableStack()
  undo.defer(() => rm(file, { force: true }))
  const digest = await download(await answerOf(new URL(url), signal, fetch.resolve), file, signal)
  if (sha256 !== undefined && digest !== sha256) {
    throw new SlipwayError(
      'source.digest-mismatch',
      `The tar has the SHA-256 ${digest}, not ${sha256}: see which of the two is right.`,
    )
  }
  await extractContext(createReadStream(file, { signal }), into, limits)
  return digest
}

async function answerOf(asked: URL, signal: AbortSignal, resolve: Resolve | undefined): Promise<Answer> {
  let url = asked
  let reach: Reach = 'private'
  for (let hop = 0; hop <= MAX_HOPS; hop++) {
    const addresses = await addressesWithin(url.hostname, reach, resolve)
    if (hop === 0 && !addresses.some(isLocal)) reach = 'public'
    const response = await get(url, addresses, signal).catch((cause: unknown) => {
      if (signal.aborted) throw cause
      throw failed(url, 'does not answer', cause)
    })
    const { statusCode: status = 0, headers } = response
    if (status >= 200 && status < 300) return { url, response }
    response.destroy()
    if (status < 300 || status > 399 || headers.location === undefined) throw failed(url, `answered ${status}`)
    url = redirectTo(headers.location, url, asked)
  }
  throw failed(asked, `led us on more than ${MAX_HOPS} times`)
}

interface Answer {
  url: URL
  response: http.IncomingMessage
}

/** Connects to one of these addresses, whatever the server's name says by now. */
function get(url: URL, addresses: [Address, ...Address[]], signal: AbortSignal): Promise<http.IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>()
  const lookup: LookupFunction = (_name, { all }, told) => {
    if (all) told(null, addresses)
    else told(null, addresses[0].address, addresses[0].family)
  }
  const { get: ask } = url.protocol === 'https:' ? https : http
  ask(url, { lookup, signal, agent: false, headers: { 'user-agent': 'slipway' } }, resolve).on('error', reject)
  return promise
}

/** Where a redirect may send us. Errors: `source.refused`. */
export function redirectTo(location: string, from: URL, asked: URL): URL {
  const url = URL.canParse(location, from.href) ? new URL(location, from) : undefined
  const isSafe = url?.protocol === 'https:' || (url?.protocol === 'http:' && asked.protocol === 'http:')
  const isKnown = url !== undefined && (!isLocalHost(url.hostname) || isLocalHost(asked.hostname))
  if (url && isSafe && isKnown && url.username === '' && url.password === '') return url
  throw new SlipwayError(
    'source.refused',
    `${asked.host} redirects to an address that is not followed: name the address that it leads to.`,
  )
}

/** Returns the SHA-256 of what came, in hex. */
async function download({ url, response }: Answer, file: string, signal: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  let size = 0
  const counted = async function* () {
    for await (const chunk of response as AsyncIterable<Uint8Array>) {
      size += chunk.length
      if (size > MAX_BYTES)
        throw new SlipwayError(
          'request.too-large',
          `The tar has more than ${sizeInWords(MAX_BYTES)}: make it smaller, or upload it as a context.`,
        )
      hash.update(chunk)
      yield chunk
    }
  }
  try {
    await pipeline(counted, createWriteStream(file, { mode: 0o600 }), { signal })
  } catch (cause) {
    if (cause instanceof SlipwayError || signal.aborted || (cause as NodeJS.ErrnoException).code === 'ENOSPC')
      throw cause
    throw failed(url, 'broke off', cause)
  }
  return hash.digest('hex')
}

function failed(url: URL, why: string, cause?: unknown): SlipwayError {
  return new SlipwayError('source.fetch-failed', `${url.origin}${url.pathname} ${why}.`, { cause })
}
