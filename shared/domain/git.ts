import { z } from 'zod'

/** `git@host:path`, as scp and git have it. */
const SCP_LIKE = /^[A-Za-z0-9_][\w.-]*@[A-Za-z0-9][\w.-]*:[^\s:][^\s]*$/
const SCHEMES = new Set(['https:', 'http:', 'ssh:', 'git:'])
/** Beginnings that git, or a shell behind it, would read as something else; what git-check-ref-format(1) forbids. */
const NO_REF = /^[-/.]|[\s~^:?*[\\]|\.\.|@\{|\/\/|\/\.|\.lock(?:\/|$)|[/.]$/

/** A repository's address without credentials in it, by a protocol that reaches a server and runs nothing here. */
export const gitUrlSchema = z
  .string()
  .max(2048)
  .refine(isGitUrl, 'an https, http, ssh or git URL, or user@host:path, without a password in it')

/** A branch, a tag, a whole name (`refs/…`) or a whole commit id. */
export const gitRefSchema = z.string().min(1).max(255).refine(isRefName, 'a branch, a tag, refs/… or a whole commit id')

/** Inside a repository. */
export const subfolderSchema = z
  .string()
  .min(1)
  .max(1024)
  .refine(isInside, 'a path inside the repository, without "..", "." or a slash at an end')

function isGitUrl(text: string): boolean {
  if (SCP_LIKE.test(text)) return true
  if (!URL.canParse(text) || hasControl(text)) return false
  const url = new URL(text)
  const isKnown = SCHEMES.has(url.protocol) && url.hostname !== '' && !url.hostname.startsWith('-')
  return isKnown && url.password === '' && (url.protocol === 'ssh:' || url.username === '')
}

function isRefName(text: string): boolean {
  return text !== '@' && !NO_REF.test(text) && !hasControl(text)
}

function isInside(path: string): boolean {
  return !hasControl(path) && path.split('/').every(name => name !== '' && name !== '.' && name !== '..')
}

function hasControl(text: string): boolean {
  return Array.from(text).some(letter => letter < ' ' || letter === '\u007f')
}

/** SHA-1 or SHA-256, whole. */
export function isCommitId(text: string): boolean {
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(text)
}

/** The server's name and the path there, of a URL or of `user@host:path`. */
export function partsOfGitUrl(text: string): { protocol: string; host: string; path: string } {
  if (SCP_LIKE.test(text)) {
    const at = text.indexOf(':')
    return { protocol: 'ssh:', host: text.slice(text.indexOf('@') + 1, at), path: `/${text.slice(at + 1)}` }
  }
  const { protocol, hostname, pathname } = new URL(text)
  return { protocol, host: hostname, path: pathname }
}
