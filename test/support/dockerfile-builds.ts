import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { uploadFolder } from '#infra/local/contexts.ts'
import type { BuildView } from '#shared/protocol/builds.ts'
import type { TestSlipway } from './slipway.ts'

/** Builds of Dockerfiles whose context is nothing but the Dockerfile. */
export interface DockerfileBuilds {
  /** Begins one and returns its id. */
  begin(dockerfile: string, tag: string, request?: Record<string, unknown>): Promise<string>
  /** As it ended. */
  ended(id: string): Promise<BuildView>
  /** The log as text, to its end where the build has ended. */
  log(id: string): Promise<string>
}

export function dockerfileBuilds({ api }: Pick<TestSlipway, 'api'>): DockerfileBuilds {
  const view = (id: string) => api.call<BuildView>('GET', `/v1/builds/${id}`)
  return {
    begin: async (dockerfile, tag, request = {}) => {
      const folder = mkdtempSync('/var/tmp/slipway-dockerfile-')
      try {
        writeFileSync(join(folder, 'Dockerfile'), dockerfile)
        const body = { ...request, context: await uploadFolder(api, folder), tags: [tag] }
        return (await api.call<BuildView>('POST', '/v1/builds', body)).id
      } finally {
        rmSync(folder, { recursive: true, force: true })
      }
    },
    ended: async id => {
      for (;;) {
        for await (const _ of api.text(`/v1/builds/${id}/logs?follow=true`));
        const build = await view(id)
        if (build.finishedAt !== undefined) return build
      }
    },
    log: async id => {
      let text = ''
      for await (const piece of api.text(`/v1/builds/${id}/logs`)) text += piece
      return text
    },
  }
}
