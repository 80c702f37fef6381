import { openAsBlob } from 'node:fs'
import { Readable } from 'node:stream'
import type { ReadableStream as NodeWebStream } from 'node:stream/web'
import pRetry from 'p-retry'
import type { z } from 'zod'
import { isErrorCode, SlipwayError } from '#shared/errors.ts'
import {
  desiredStateSchema,
  missingBlobsSchema,
  publishedImageSchema,
  resolvedImageSchema,
} from '#shared/protocol/agent.ts'
import { problemSchema } from '#shared/protocol/problem.ts'
import type { ControlPlane } from './control-plane.ts'

const CALL_MS = 10_000
/** For bytes on their way: a layer may be large and a line slow. */
const TRANSFER_MS = 30 * 60 * 1000
const RETRIES = 4
/** The API restarts, or the line breaks for a moment: no reason to lose a build. Every call is idempotent. */
const patiently = <T>(attempt: () => Promise<T>): Promise<T> =>
  pRetry(attempt, { retries: RETRIES, randomize: true, shouldRetry: ({ error }) => isAway(error) })

/** The API over HTTP with the host's token, which is sent to the API alone and never to a signed URL of elsewhere. */
export function httpControlPlane(url: string, token: string): ControlPlane {
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
  const call = async <T>(method: string, path: string, schema: z.ZodType<T>, body?: unknown): Promise<T> => {
    const response = await patiently(() => send(method, path, body, CALL_MS, 'follow'))
    return schema.parse(await response.json())
  }
  const download = async (path: string): Promise<Readable> => {
    const { headers } = await patiently(() => send('GET', path, undefined, CALL_MS, 'manual'))
    const response = await reach(new URL(headers.get('location') ?? '', url), {
      signal: AbortSignal.timeout(TRANSFER_MS),
    })
    if (!response.ok || !response.body) throw await asError(response)
    return Readable.fromWeb(response.body as NodeWebStream)
  }
  return {
    desired: async since => {
      const query = since === undefined ? '' : `?since=${since}`
      const response = await send('GET', `/v1/agent/desired${query}`, undefined, CALL_MS, 'follow')
      return response.status === 304 ? undefined : desiredStateSchema.parse(await response.json())
    },
    report: async report => void (await send('POST', '/v1/agent/report', report, CALL_MS, 'follow')),
    resolveImage: reference =>
      call('GET', `/v1/agent/images?reference=${encodeURIComponent(reference)}`, resolvedImageSchema),
    publishImage: async image => (await call('POST', '/v1/agent/images', publishedImageSchema, image)).digest,
    missingBlobs: async blobs => (await call('POST', '/v1/agent/blobs', missingBlobsSchema, { blobs })).missing,
    upload: ({ upload }, path) =>
      pRetry(
        async () => {
          const response = await reach(upload.url, {
            method: 'PUT',
            headers: upload.headers,
            body: await openAsBlob(path),
            signal: AbortSignal.timeout(TRANSFER_MS),
          })
          if (!response.ok) throw await asError(response)
        },
        { retries: RETRIES, randomize: true, shouldRetry: ({ error }) => isWorthRetrying(error) },
      ),
    download: digest => download(`/v1/agent/blobs/${digest}`),
    downloadContext: id => download(`/v1/agent/contexts/${id}`),
    appendBuildLog: async (id, chunk) =>
      void (await send('POST', `/v1/agent/builds/${id}/log`, chunk, CALL_MS, 'follow')),
  }
}

function isWorthRetrying(error: Error): boolean {
  return error instanceof SlipwayError && error.retry
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
