import { gitUrlSchema, partsOfGitUrl } from '#shared/domain/git.ts'
import { isLocalHost } from '#shared/domain/local-host.ts'
import { SlipwayError } from '#shared/errors.ts'

/**
 * Where a submodule is: its URL, or a path relative to its parent's (gitmodules(5)). An operator may name a server of a
 * private network, a repository may not: there only the parent's own server is asked. Errors: `source.refused`.
 */
export function submoduleUrl(parent: string, url: string): string {
  const whole = /^\.\.?\//.test(url) ? relativeTo(parent, url) : url
  if (!gitUrlSchema.safeParse(whole).success) throw refused(url, 'is no URL of https, http, ssh or git')
  const { host } = partsOfGitUrl(whole)
  if (isLocalHost(host) && !isSameServer(parent, whole)) throw refused(url, 'is on a private network')
  return whole
}

/** A secret is for the server that it was given for, and no other. */
export function isSameServer(one: string, other: string): boolean {
  const server = (url: string) => {
    const { protocol, host } = partsOfGitUrl(url)
    return [protocol, URL.canParse(url) ? new URL(url).host : host].join()
  }
  return server(one) === server(other)
}

function relativeTo(parent: string, url: string): string {
  let base = parent.replace(/\/+$/, '')
  let rest = url
  for (;;) {
    if (rest.startsWith('./')) rest = rest.slice(2)
    else if (rest.startsWith('../')) {
      rest = rest.slice(3)
      base = base.slice(0, Math.max(base.lastIndexOf('/'), base.lastIndexOf(':')))
    } else break
  }
  return `${base}/${rest}`
}

function refused(url: string, why: string): SlipwayError {
  return new SlipwayError('source.refused', `The submodule of ${url.slice(0, 300)} ${why}, which is not followed.`)
}
