import { posix } from 'node:path'
import { dockerfileFault } from './fault.ts'
import { type Match, pathPattern } from './glob.ts'

export interface IgnoreRule {
  /** `!`: takes back what rules before it left out. */
  isException: boolean
  matches: Match
}

const RULES_LIMIT = 10_000

/** The rules of an ignore file (Docker's build context reference, ".dockerignore files"). Pure. */
export function parseIgnoreFile(text: string, file: string): IgnoreRule[] {
  const rules: IgnoreRule[] = []
  for (const [at, line] of text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .entries()) {
    if (line.startsWith('#')) continue
    const { isException, pattern } = readLine(line.trim())
    if (pattern === '') continue
    const fault = (why: string) => dockerfileFault({ file, line: at + 1, column: 1 }, why)
    const matches = pathPattern(pattern)
    if (!matches) throw fault('This is no pattern, or one of more than 4096 characters')
    if (rules.length === RULES_LIMIT) throw fault(`There are more than ${RULES_LIMIT} rules`)
    rules.push({ isException, matches })
  }
  return rules
}

function readLine(line: string): { isException: boolean; pattern: string } {
  const isException = line.startsWith('!')
  const text = isException ? line.slice(1).trim() : line
  const pattern = text === '' ? '' : posix.normalize(text).replace(/(?<=.)\/$/, '')
  return { isException, pattern: pattern.replace(/^\/(?=.)/, '') }
}

/** The rules that leave a path of a context out, if any: looked at from its first folder on. */
export function isLeftOut(path: string, rules: readonly IgnoreRule[]): boolean {
  let above: ReadonlySet<IgnoreRule> = new Set()
  let isIgnored = false
  const names = path.split('/').filter(Boolean)
  for (const [at] of names.entries()) {
    const seen = rulesAbout(names.slice(0, at + 1).join('/'), rules, above)
    above = seen.about
    isIgnored = seen.isIgnored
  }
  return isIgnored
}

/**
 * Which rules are about `path`: those that match it, and those that were about its folder (`above`). The last of them
 * decides.
 */
export function rulesAbout(path: string, rules: readonly IgnoreRule[], above: ReadonlySet<IgnoreRule>) {
  const characters = [...path]
  const about = new Set(rules.filter(rule => above.has(rule) || rule.matches(characters)))
  const last = [...about].at(-1)
  return { about, isIgnored: last !== undefined && !last.isException }
}
