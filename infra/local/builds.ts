import type { ApiClient } from './api-client.ts'

export interface BuildRequest {
  context: string
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
  for await (const piece of api.text(`/v1/builds/${id}/logs?follow=true`)) print(piece)
  const build = await api.call<BuildView>('GET', `/v1/builds/${id}`)
  if (build.state === 'succeeded') return build
  throw new Error(`Build ${id} ${build.state}: ${build.error?.message ?? 'see its log above'}`)
}
