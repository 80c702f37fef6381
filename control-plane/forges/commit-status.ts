import type { BuildState } from '#shared/domain/build.ts'
import { partsOfGitUrl } from '#shared/domain/git.ts'
import type { CommitStatusTarget } from '#shared/domain/hook.ts'

export type ForgeKind = CommitStatusTarget['kind']

export interface StatusCall {
  url: string
  headers: Record<string, string>
  body: Record<string, string>
}

const GITHUB = {
  queued: 'pending',
  running: 'pending',
  succeeded: 'success',
  failed: 'failure',
  canceled: 'error',
} as const
const GITLAB = {
  queued: 'pending',
  running: 'running',
  succeeded: 'success',
  failed: 'failed',
  canceled: 'canceled',
} as const
const SAID: Record<BuildState, string> = {
  queued: 'The build waits for its host.',
  running: 'The image is being built.',
  succeeded: 'The image is built.',
  failed: 'The build failed.',
  canceled: 'The build was canceled.',
}

/**
 * How a forge is told. GitHub: `POST /repos/{owner}/{repo}/statuses/{sha}`; Gitea and Forgejo have the same with other
 * authorization; GitLab: `POST /projects/{id}/statuses/{sha}`. Pure.
 */
export function statusCall(target: CommitStatusTarget, state: BuildState, link: string, token: string): StatusCall {
  const { kind, api, repository, commit, context } = target
  const said = { target_url: link, description: SAID[state] }
  if (kind === 'gitlab') {
    const url = `${api}/projects/${encodeURIComponent(repository)}/statuses/${commit}`
    return { url, headers: { 'private-token': token }, body: { ...said, state: GITLAB[state], name: context } }
  }
  const path = repository.split('/').map(encodeURIComponent).join('/')
  const headers: Record<string, string> =
    kind === 'github'
      ? {
          authorization: `Bearer ${token}`,
          accept: 'application/vnd.github+json',
          'x-github-api-version': '2022-11-28',
        }
      : { authorization: `token ${token}`, accept: 'application/json' }
  return { url: `${api}/repos/${path}/statuses/${commit}`, headers, body: { ...said, state: GITHUB[state], context } }
}

/**
 * Where a forge's API is, by where its repositories are: the same scheme, server and port for http and https; for others, whose
 * port is another service's, https and its own port.
 */
export function usualApi(kind: ForgeKind, gitUrl: string): string {
  const { protocol, host } = partsOfGitUrl(gitUrl)
  const origin = /^https?:$/.test(protocol) ? new URL(gitUrl).origin : `https://${host}`
  if (kind === 'gitlab') return `${origin}/api/v4`
  if (kind === 'gitea') return `${origin}/api/v1`
  return host === 'github.com' ? 'https://api.github.com' : `${origin}/api/v3`
}
