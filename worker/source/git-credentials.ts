import { partsOfGitUrl } from '#shared/domain/git.ts'
import { SlipwayError } from '#shared/errors.ts'

/** What a secret gives to one git command. `hidden` are texts that nothing may show. */
export interface GitCredentials {
  env: Record<string, string>
  config: [key: string, value: string][]
  hidden: string[]
}

const KEY_END = /^-----END [A-Z0-9 ]*PRIVATE KEY-----[^\S\n]*$/m
/** GitHub's name for a token as a password; GitLab, Gitea and Forgejo take any. */
const TOKEN_USER = 'x-access-token'
/** Git asks for one user and password, of one server; the values stay in the environment. */
const HELPER =
  '!f() { test "$1" = get && printf "username=%s\\npassword=%s\\n" "$SLIPWAY_GIT_USER" "$SLIPWAY_GIT_PASSWORD"; }; f'

export const NO_CREDENTIALS: GitCredentials = { env: {}, config: [], hidden: [] }

/**
 * How git gets a secret for the server of `url`, and for no other: `user:password` or a token alone for https; for ssh a
 * private key, with lines of known_hosts(5) behind it where the server's key is to be checked from the first time on.
 * Nothing of it is in an argument. Errors: `source.refused` for a secret of the other kind.
 */
export function gitCredentials(url: string, secret: string | undefined): GitCredentials {
  if (secret === undefined) return NO_CREDENTIALS
  const { protocol } = partsOfGitUrl(url)
  if (protocol === 'ssh:') return keyFor(secret)
  if (protocol === 'git:') throw refused('git:// has no passwords: leave the secret out, or use https')
  if (KEY_END.test(secret))
    throw refused('the secret is a private key, which is for ssh: use a token, or user:password')
  const { user, password } = userAndPassword(secret.trim())
  return {
    env: { SLIPWAY_GIT_USER: user, SLIPWAY_GIT_PASSWORD: password },
    config: [[`credential.${new URL(url).origin}.helper`, HELPER]],
    hidden: [secret.trim(), password, btoa(unescape(encodeURIComponent(`${user}:${password}`)))],
  }
}

export function withConfig(credentials: GitCredentials, config: GitCredentials['config']): GitCredentials {
  return { ...credentials, config: [...credentials.config, ...config] }
}

function userAndPassword(secret: string): { user: string; password: string } {
  if (/[\n\r\0]/.test(secret))
    throw refused('the secret has more than one line: a token is one, and so is user:password')
  const colon = secret.indexOf(':')
  if (colon === -1) return { user: TOKEN_USER, password: secret }
  return { user: secret.slice(0, colon), password: secret.slice(colon + 1) }
}

function keyFor(secret: string): GitCredentials {
  const end = KEY_END.exec(secret)
  if (!end) throw refused('the secret is no private key, which ssh needs')
  const at = end.index + end[0].length
  const hosts = secret.slice(at).trim()
  const env = {
    SLIPWAY_SSH_KEY: `${secret.slice(0, at).trim()}\n`,
    SLIPWAY_SSH_HOSTS: hosts === '' ? '' : `${hosts}\n`,
  }
  return { env, config: [], hidden: secret.split('\n').filter(line => line.length > 8 && !line.startsWith('-----')) }
}

function refused(why: string): SlipwayError {
  return new SlipwayError('source.refused', `The repository cannot be fetched: ${why}.`)
}

/** `text` without what must not be seen. */
export function masked(text: string, hidden: readonly string[]): string {
  return hidden.filter(value => value !== '').reduce((left, value) => left.replaceAll(value, '***'), text)
}
