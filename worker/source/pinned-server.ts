import { isIP } from 'node:net'
import { partsOfGitUrl } from '#shared/domain/git.ts'
import type { GitCredentials } from './git-credentials.ts'
import { addressesWithin, type Reach, type Resolve } from './reach.ts'

/** How git is told of a server so that it goes to addresses that were looked at, and to no other. */
export interface PinnedServer {
  url: string
  config: GitCredentials['config']
}

/**
 * A repository's server, where its name led when it was looked at. That of ssh is found by ssh, as its keys are known by names.
 * Errors: `source.refused`, `source.fetch-failed`.
 */
export async function pinned(url: string, reach: Reach, resolve: Resolve | undefined): Promise<PinnedServer> {
  const { protocol, host } = partsOfGitUrl(url)
  const addresses = (await addressesWithin(host, reach, resolve)).map(({ address, family }) =>
    family === 6 ? `[${address}]` : address,
  )
  const isName = isIP(host.replace(/^\[(.*)\]$/, '$1')) === 0
  if (!isName || protocol === 'ssh:') return { url, config: [] }
  const parts = new URL(url)
  if (protocol === 'git:') {
    parts.hostname = addresses[0] ?? host
    return { url: parts.href, config: [] }
  }
  const port = parts.port || (protocol === 'https:' ? '443' : '80')
  return { url, config: [['http.curloptResolve', `${host}:${port}:${addresses.join(',')}`]] }
}
