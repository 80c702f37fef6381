import type { ApiClient } from './api-client.ts'
import { waitUntil } from './processes.ts'

const BEGIN_MS = 60_000

export interface BuildRequest {
  context: string | string[]
  tags: string[]
  dockerfile?: string
  target?: string
  args?: Record<string, string>
  noCache?: boolean
}

/** Gets the log's text as it comes. */
export type BuildPrinter = (text: string) => void

interface BuildView {
  id: string
  state: string
  imageDigest?: string
  error?: { code: string; message: string }
}

/** Starts a build, prints its log while it runs and returns it when it succeeded; throws with the build's own sentence. */
export async function buildContext(api: ApiClient, request: BuildRequest, print: BuildPrinter): Promise<BuildView> {
  const { id } = await api.call<BuildView>('POST', '/v1/builds', request)
  await refuseIfNotBegun(api, id)
  const build = await followed(api, id, print)
  if (build.state === 'succeeded') return build
  throw new Error(`Build ${id} ${build.state}: ${build.error?.message ?? 'see its log above'}`)
}

/** Prints the log until the build has ended. The API lets go of a reader after some minutes: it asks again, and skips what it has. */
async function followed(api: ApiClient, id: string, print: BuildPrinter): Promise<BuildView> {
  for (let printed = 0; ; ) {
    let seen = 0
    for await (const piece of api.text(`/v1/builds/${id}/logs?follow=true`)) {
      const fresh = piece.slice(Math.max(0, printed - seen))
      seen += piece.length
      if (fresh === '') continue
      print(fresh)
      printed += fresh.length
    }
    const build = await api.call<BuildView>('GET', `/v1/builds/${id}`)
    if (build.state !== 'queued' && build.state !== 'running') return build
  }
}

/** A host that does not even begin would keep us waiting without a word. */
async function refuseIfNotBegun(api: ApiClient, id: string): Promise<void> {
  const hasBegun = async () => (await api.call<BuildView>('GET', `/v1/builds/${id}`)).state !== 'queued'
  if (await waitUntil(hasBegun, BEGIN_MS)) return
  await api.call('POST', `/v1/builds/${id}/cancel`, {})
  throw new Error(`The host did not begin build ${id} within ${BEGIN_MS / 1000} s: see its agent's log.`)
}
