import { Readable } from 'node:stream'
import pRetry from 'p-retry'
import type { z } from 'zod'
import type { Digest } from '#shared/digest.ts'
import { ociArchitecture } from '#shared/domain/host.ts'
import { isErrorCode, SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'
import {
  agentSecretsSchema,
  claimedBuildSchema,
  containerSecretsSchema,
  desiredStateSchema,
  missingBlobsSchema,
  publishedImageSchema,
  resolvedImageSchema,
  signedUploadSchema,
} from '#shared/protocol/agent.ts'
import { foundStepsSchema } from '#shared/protocol/build-cache.ts'
import { foundMountSchema } from '#shared/protocol/cache-mounts.ts'
import { problemSchema } from '#shared/protocol/problem.ts'
import type { ControlPlane } from './control-plane.ts'
import { resumedDownload } from './resumed-download.ts'
import { PATIENCE, type UploadCalls, uploadBlob } from './upload-blob.ts'

const CALL_MS = 10_000
/** An agent that is stopped has five seconds for everything. */
const RELEASE_MS = 2000
/** A build waits for it, and does the step itself then. */
const FIND_STEPS_MS = 2000
/** A start waits for it, and takes what it got at an earlier one then. */
const CONTAINER_SECRETS_MS = 3000
/** The API may have to ask a registry, its mirrors and its token server first, each of them a few times. */
const RESOLVE_MS = 120_000
/** It fetches a blob from its upstream first, for two minutes at a time, and may wait for another request's two before. */
const BLOB_CALL_MS = 280_000
/** The API reads what came to a store which checks no digest. */
const VERIFY_MS = 280_000
const CACHE_MOUNTS = '/v1/agent/builds/cache/mounts'
const ASK_AGAIN_MS = 1000
const BUSY = new Set<string>(['upstream.busy', 'upload.busy'])
/** For bytes on their way: a layer may be large and a line slow. */
const TRANSFER_MS = 30 * 60 * 1000
/** The API restarts, or the line breaks for a while: no reason to lose a build. Every call is idempotent. */
const patiently = <T>(attempt: () => Promise<T>): Promise<T> =>
  pRetry(attempt, { ...PATIENCE, shouldRetry: ({ error }) => isAway(error) })

/** The API over HTTP with the host's token, which is sent to the API alone and never to a signed URL of elsewhere. */
export function httpControlPlane(url: string, token: string): ControlPlane {
  const architecture = ociArchitecture(process.arch)
  const send = async (
    method: string,
    path: string,
    body: unknown,
    timeoutMs: number,
    redirect: 'follow' | 'manual',
  ) => {
    const response = await reach(url + path, {
      method,
      redirect,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs),
    })
    if (response.status >= 400) throw await asError(response)
    return response
  }
  const call = <T>(method: string, path: string, schema: z.ZodType<T>, body?: unknown, timeoutMs = CALL_MS) =>
    patiently(async () => schema.parse(await (await send(method, path, body, timeoutMs, 'follow')).json()))
  /** `whenLost`: told of what the API knows and the store has not. */
  const download = async (path: string, timeoutMs = CALL_MS, whenLost?: () => Promise<unknown>): Promise<Readable> => {
    const deadline = AbortSignal.timeout(TRANSFER_MS)
    const open = async (from: number) => {
      // Each time anew: a signed URL may have expired meanwhile.
      const { headers } = await untilReady(() => patiently(() => send('GET', path, undefined, timeoutMs, 'manual')))
      const range: Record<string, string> = from > 0 ? { range: `bytes=${from}-` } : {}
      const location = new URL(headers.get('location') ?? '', url)
      const response = await reach(location, { headers: range, signal: deadline })
      // A store that is there and has not what the API knows: asking again brings nothing.
      if (response.status === 404) {
        await whenLost?.().catch(() => {}) // It only spares others the same way.
        throw new SlipwayError('blob.not-found', 'The store has lost what it was asked for.')
      }
      if (!response.ok || !response.body) throw await asError(response)
      if (from > 0 && response.status !== 206) throw new SlipwayError('blob.store-failed', 'The store ignored a range.')
      return response.body as unknown as AsyncIterable<Uint8Array>
    }
    const opened = [await open(0)] // A refusal is told to who asks, not to who reads.
    const bytes = resumedDownload(async from => opened.pop() ?? open(from), systemClock)
    return Readable.from(bytes, { objectMode: false })
  }
  const blobPath = (digest: Digest) => `/v1/agent/blobs/${digest}`
  const stepPath = (key: string) => `/v1/agent/builds/cache/steps/${key}`
  const uploadCalls: UploadCalls = {
    signPart: async (digest, number) => {
      const answer = await send('POST', `${blobPath(digest)}/parts/${number}`, undefined, CALL_MS, 'follow')
      return signedUploadSchema.parse(await answer.json())
    },
    partCame: async (digest, number, tag) =>
      void (await send('PUT', `${blobPath(digest)}/parts/${number}`, { tag }, CALL_MS, 'follow')),
    blobCame: async digest =>
      void (await untilReady(() => send('PUT', blobPath(digest), undefined, VERIFY_MS, 'follow'))),
    send: async ({ url: to, headers }, body, signal) => {
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(TRANSFER_MS)])
      const response = await reach(to, { method: 'PUT', headers, body, signal: deadline })
      if (!response.ok) throw await asError(response)
      await response.arrayBuffer() // The connection is free for the next part.
      return response.headers.get('etag') ?? undefined
    },
  }
  return {
    desired: async since => {
      const query = since === undefined ? '' : `?since=${since}`
      const response = await send('GET', `/v1/agent/desired${query}`, undefined, CALL_MS, 'follow')
      return response.status === 304 ? undefined : desiredStateSchema.parse(await response.json())
    },
    report: async report => void (await send('POST', '/v1/agent/report', report, CALL_MS, 'follow')),
    resolveImage: reference =>
      call(
        'GET',
        `/v1/agent/images?${new URLSearchParams({ reference, architecture })}`,
        resolvedImageSchema,
        undefined,
        RESOLVE_MS,
      ),
    publishImage: async image => (await call('POST', '/v1/agent/images', publishedImageSchema, image)).digest,
    missingBlobs: async blobs => (await call('POST', '/v1/agent/blobs', missingBlobsSchema, { blobs })).missing,
    upload: (blob, path, signal) => uploadBlob(uploadCalls, blob, path, signal),
    download: digest =>
      download(blobPath(digest), BLOB_CALL_MS, () => send('DELETE', blobPath(digest), undefined, CALL_MS, 'follow')),
    downloadContext: id => download(`/v1/agent/contexts/${id}`),
    claimBuild: async build => {
      const response = await send('POST', '/v1/agent/builds/claims', { build }, CALL_MS, 'follow')
      return response.status === 204 ? undefined : claimedBuildSchema.parse(await response.json())
    },
    releaseBuild: async id =>
      void (await send('POST', `/v1/agent/builds/${id}/release`, undefined, RELEASE_MS, 'follow')),
    buildSecrets: id => call('GET', `/v1/agent/builds/${id}/secrets`, agentSecretsSchema),
    savedMount: id => call('GET', `${CACHE_MOUNTS}?${new URLSearchParams({ id, architecture })}`, foundMountSchema),
    saveMount: mount =>
      patiently(async () => void (await send('PUT', CACHE_MOUNTS, { ...mount, architecture }, CALL_MS, 'follow'))),
    containerSecrets: async id => {
      const path = `/v1/agent/containers/${id}/secrets`
      const response = await send('GET', path, undefined, CONTAINER_SECRETS_MS, 'follow')
      return containerSecretsSchema.parse(await response.json()).secrets
    },
    expireContainer: async id =>
      void (await send('POST', `/v1/agent/containers/${id}/expire`, undefined, CALL_MS, 'follow')),
    findSteps: async key => {
      const response = await send('GET', stepPath(key), undefined, FIND_STEPS_MS, 'follow')
      return foundStepsSchema.parse(await response.json()).steps
    },
    shareStep: async (key, step) => void (await send('PUT', stepPath(key), step, CALL_MS, 'follow')),
    appendBuildLog: async (id, chunk) =>
      void (await send('POST', `/v1/agent/builds/${id}/log`, chunk, CALL_MS, 'follow')),
  }
}

/** What comes from an upstream, or is verified, may take longer than one request lasts: the API says so; it is asked again. */
async function untilReady<T>(ask: () => Promise<T>): Promise<T> {
  const deadline = systemClock.now() + TRANSFER_MS
  for (;;) {
    try {
      return await ask()
    } catch (error) {
      const isBusy = error instanceof SlipwayError && BUSY.has(error.code)
      if (!isBusy || systemClock.now() > deadline) throw error
      await systemClock.sleep(ASK_AGAIN_MS * (0.5 + Math.random()))
    }
  }
}

function isAway(error: Error): boolean {
  return error instanceof SlipwayError && error.code === 'host.unreachable'
}

async function reach(url: string | URL, init: RequestInit): Promise<Response> {
  try {
    return await fetch(url, init)
  } catch (cause) {
    throw new SlipwayError('host.unreachable', 'The API or its blob store does not answer this host.', { cause })
  }
}

/** The API's own code where it answered with a problem; anything else is something between us and it. */
async function asError(response: Response): Promise<SlipwayError> {
  const text = await response.text().catch(() => '')
  const problem = problemSchema.safeParse(parseJson(text))
  if (problem.success && isErrorCode(problem.data.code)) {
    return new SlipwayError(problem.data.code, problem.data.detail, { facts: problem.data.facts ?? {} })
  }
  return new SlipwayError('blob.store-failed', `A server answered ${response.status}: ${text.slice(0, 300)}`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
