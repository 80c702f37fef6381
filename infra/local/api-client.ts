import { openAsBlob } from 'node:fs'

export interface ApiProblem {
  status: number
  code: string
  title: string
  detail: string
  facts?: Record<string, unknown>
}

/** An answer of the API that was no success: its problem document (RFC 9457). */
export class ApiError extends Error {
  readonly problem: ApiProblem

  constructor(problem: ApiProblem) {
    super(`${problem.code}: ${problem.detail}`)
    this.name = 'ApiError'
    this.problem = problem
  }
}

export interface ApiClient {
  readonly url: string
  /** Sends JSON, returns JSON as `T` (the caller names the shape of `shared/protocol`). Throws ApiError. */
  call<T>(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<T>
  /** The answer's body as a stream of text pieces, while it comes. */
  text(path: string, headers?: Record<string, string>): AsyncIterable<string>
}

const CALL_DEADLINE_MS = 310_000

export function apiClient(url: string, token: string): ApiClient {
  const send = async (method: string, path: string, body: unknown, headers: Record<string, string>) => {
    const response = await fetch(url + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(CALL_DEADLINE_MS),
    })
    if (response.ok) return response
    throw new ApiError(await problemOf(response))
  }
  return {
    url,
    call: async <T>(method: string, path: string, body?: unknown, headers = {}) => {
      const response = await send(method, path, body, headers)
      return (response.status === 204 ? undefined : await response.json()) as T
    },
    text: async function* (path, headers = {}) {
      const response = await send('GET', path, undefined, headers)
      if (response.body) yield* response.body.pipeThrough(new TextDecoderStream())
    },
  }
}

async function problemOf(response: Response): Promise<ApiProblem> {
  const text = await response.text()
  try {
    return { ...JSON.parse(text), status: response.status }
  } catch {
    return { status: response.status, code: 'unknown', title: response.statusText, detail: text.slice(0, 500) }
  }
}

/** Makes a context and uploads a tar file (plain, gzip or zstd) to it. Returns the context's id. */
export async function uploadContext(api: ApiClient, tarPath: string): Promise<string> {
  const context = await api.call<{ id: string; upload: { url: string; headers: Record<string, string> } }>(
    'POST',
    '/v1/contexts',
    {},
  )
  const { url, headers } = context.upload
  const response = await fetch(url, { method: 'PUT', headers, body: await openAsBlob(tarPath) })
  if (!response.ok) throw new ApiError(await problemOf(response))
  return context.id
}
