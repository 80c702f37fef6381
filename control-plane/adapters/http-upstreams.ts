import pRetry from 'p-retry'
import { type Digest, digestOf, isDigest } from '#shared/digest.ts'
import type { Endpoint, Mirrored, Upstream } from '#shared/domain/upstream.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { UpstreamManifest, Upstreams } from '#shared/ports/upstreams.ts'
import { readBounded } from '#shared/read-bounded.ts'
import { sizeInWords } from '#shared/size-in-words.ts'
import { type Call, callEndpoint, type Memory } from './upstream-endpoint.ts'

/** For one answer, small body and token included; a blob's bytes may take longer, who reads them watches over that. */
const ANSWER_MS = 10_000
/** A tag that we have already is not worth a longer wait. */
const CHECK_MS = 5000
const RETRIES = 2
const MANIFEST_LIMIT = 4 * 1024 * 1024
const ACCEPTED = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]
/** No compression on the way: digests are of the bytes as they are. */
const PLAIN = { 'accept-encoding': 'identity', 'user-agent': 'slipway' }

/** The configured registries by the Distribution API (OCI distribution-spec 1.1), on Node and on workerd. */
export function httpUpstreams(upstreams: readonly Upstream[], clock: Clock): Upstreams {
  const byName = new Map(upstreams.map(upstream => [upstream.registry, upstream]))
  const memory: Memory = { tokens: new Map(), limited: new Map() }

  /** Runs `work` with the answer of the first endpoint that has one; the last one's failure counts, it is the registry. */
  const ask = async <T>(
    { registry, remote }: Mirrored,
    call: Pick<Call, 'method' | 'path' | 'headers'>,
    limits: { answerMs: number; retries: number; isDirect?: boolean },
    work: (response: Response, endpoint: Endpoint) => Promise<T>,
  ): Promise<T> => {
    const all = byName.get(registry)?.endpoints ?? []
    const endpoints = limits.isDirect ? all.slice(-1) : all
    let failure = new SlipwayError('upstream.denied', `${registry} is not configured as an upstream.`)
    for (const [at, endpoint] of endpoints.entries()) {
      const attempt = () => {
        const whole = { ...call, registry, repository: remote, headers: { ...PLAIN, ...call.headers } }
        return answered(endpoint, whole, limits, work)
      }
      // A mirror that fails has the next one behind it.
      const retries = at === endpoints.length - 1 ? limits.retries : 0
      try {
        return await pRetry(attempt, {
          retries,
          minTimeout: 250,
          maxTimeout: 2000,
          randomize: true,
          shouldRetry: isPassing,
        })
      } catch (error) {
        if (!(error instanceof SlipwayError)) throw error
        failure = error
      }
    }
    throw failure
  }

  const answered = async <T>(
    endpoint: Endpoint,
    call: Call,
    limits: { answerMs: number },
    work: (response: Response, endpoint: Endpoint) => Promise<T>,
  ): Promise<T> => {
    const { host } = new URL(endpoint.url)
    const late = new SlipwayError('upstream.unreachable', `${host} gave no answer within ${limits.answerMs / 1000} s.`)
    const gone = new AbortController()
    const timer = setTimeout(() => gone.abort(late), limits.answerMs)
    try {
      return await work(await callEndpoint(endpoint, call, memory, clock, gone.signal), endpoint)
    } catch (cause) {
      if (cause instanceof SlipwayError) throw cause
      throw new SlipwayError('upstream.unreachable', `${host} broke off its answer: try again later.`, { cause })
    } finally {
      clearTimeout(timer)
    }
  }

  return {
    find: registry => byName.get(registry),
    tagDigest: (at, tag, known) =>
      ask(
        at,
        {
          ...{ method: 'HEAD', path: `manifests/${tag}` },
          headers: { accept: ACCEPTED.join(', '), 'if-none-match': `"${known}"` },
        },
        { answerMs: CHECK_MS, retries: 0 },
        async response => (response.status === 304 ? known : digestHeader(response)),
      ),
    manifest: (at, reference) =>
      ask(
        at,
        { method: 'GET', path: `manifests/${reference}`, headers: { accept: ACCEPTED.join(', ') } },
        { answerMs: ANSWER_MS, retries: RETRIES },
        (response, endpoint) => readManifest(response, endpoint, reference),
      ),
    blob: (at, digest, from, isDirect) =>
      ask(
        at,
        { method: 'GET', path: `blobs/${digest}`, headers: from > 0 ? { range: `bytes=${from}-` } : {} },
        { answerMs: ANSWER_MS, retries: RETRIES, isDirect },
        async (response, endpoint) => {
          if (!response.body) throw invalid(endpoint, 'gave no bytes')
          const start = response.status === 206 ? rangeStart(response, endpoint) : 0
          const isResumable = response.status === 206 || /\bbytes\b/i.test(response.headers.get('accept-ranges') ?? '')
          return { body: response.body, start, isResumable }
        },
      ),
  }
}

async function readManifest(response: Response, endpoint: Endpoint, reference: string): Promise<UpstreamManifest> {
  const mediaType = response.headers.get('content-type')?.split(';')[0]?.trim() ?? ''
  if (!ACCEPTED.includes(mediaType)) throw invalid(endpoint, 'answered with something that is no manifest')
  const bytes = await readBounded(response.body, MANIFEST_LIMIT)
  if (!bytes) throw invalid(endpoint, `has a manifest of more than ${sizeInWords(MANIFEST_LIMIT)} there`)
  const digest = await digestOf(bytes)
  const promised = isDigest(reference) ? reference : (digestHeader(response) ?? digest)
  if (promised === digest) return { digest, mediaType, bytes }
  throw new SlipwayError(
    'upstream.digest-mismatch',
    `${new URL(endpoint.url).host} gave a manifest with digest ${digest} in place of ${promised}: it was not kept.`,
  )
}

function digestHeader(response: Response): Digest | undefined {
  const text = response.headers.get('docker-content-digest') ?? ''
  return isDigest(text) ? text : undefined
}

function rangeStart(response: Response, endpoint: Endpoint): number {
  const start = /^bytes (\d+)-/.exec(response.headers.get('content-range') ?? '')?.[1]
  if (start === undefined) throw invalid(endpoint, 'answered a range without saying which')
  return Number(start)
}

function invalid(endpoint: Endpoint, what: string): SlipwayError {
  return new SlipwayError('upstream.answer-invalid', `${new URL(endpoint.url).host} ${what}.`)
}

function isPassing({ error }: { error: Error }): boolean {
  return error instanceof SlipwayError && error.code === 'upstream.unreachable'
}
