/**
 * Patterns of paths, as COPY and ADD (Go's `filepath.Match`) and .dockerignore have them: `*`, `?`, `[a-z]`, `[^a]`,
 * `\x`, and in .dockerignore `**`. Matched by the set of places reached so far, in at most the product of both lengths:
 * a pattern is untrusted, and a backtracking regular expression of one can take forever. Pure.
 */
type Token =
  | { kind: 'char'; isIt: (char: string) => boolean }
  /** Any number of characters inside of a segment. */
  | { kind: 'star' }
  /** Any number of whole segments, each with its slash. */
  | { kind: 'folders' }
  | { kind: 'rest' }

/** Takes the characters of a path. */
export type Match = (path: readonly string[]) => boolean

const PATTERN_LIMIT = 4096

/** A pattern for one path segment. Undefined for one that Go would refuse, or of more than 4096 characters. */
export function segmentPattern(pattern: string): Match | undefined {
  return compiled(pattern, false)
}

/** A pattern for a whole path, in which `**` goes through folders. Undefined as above. */
export function pathPattern(pattern: string): Match | undefined {
  return compiled(pattern, true)
}

export function hasMeta(pattern: string): boolean {
  return /[*?[\\]/.test(pattern)
}

function compiled(pattern: string, goesDeep: boolean): Match | undefined {
  if (pattern.length > PATTERN_LIMIT) return undefined
  const tokens: Token[] = []
  for (let left = pattern; left !== ''; ) {
    const [token, length] = firstToken(left, goesDeep)
    if (!token) return undefined
    tokens.push(token)
    left = left.slice(length)
  }
  return path => matches(tokens, path)
}

/** With the length of its text. */
function firstToken(text: string, goesDeep: boolean): [Token | undefined, number] {
  if (goesDeep && text === '**') return [{ kind: 'rest' }, 2]
  if (goesDeep && text.startsWith('**')) return [{ kind: 'folders' }, text[2] === '/' ? 3 : 2]
  const [char = ''] = text
  if (char === '*') return [{ kind: 'star' }, 1]
  if (char === '?') return [{ kind: 'char', isIt: given => given !== '/' }, 1]
  if (char === '[') return characterClass(text)
  const [, escaped] = /^\\(.)/su.exec(text) ?? []
  const meant = escaped ?? char
  return [{ kind: 'char', isIt: given => given === meant }, escaped === undefined ? char.length : 1 + escaped.length]
}

function characterClass(text: string): [Token | undefined, number] {
  const [whole = '', not, inside = ''] = /^\[(\^?)((?:\\.|[^\]\\])+)\]/su.exec(text) ?? []
  const ranges = [...inside.matchAll(/(?:\\(.)|([^\\]))(?:-(?:\\(.)|([^\\-])))?/gsu)].map(found => {
    const from = found[1] ?? found[2] ?? ''
    return { from: codeOf(from), to: codeOf(found[3] ?? found[4] ?? from) }
  })
  if (whole === '' || ranges.some(({ from, to }) => from > to)) return [undefined, 0]
  const isIn = (char: string) => ranges.some(({ from, to }) => from <= codeOf(char) && codeOf(char) <= to)
  return [{ kind: 'char', isIt: char => isIn(char) !== (not === '^') }, whole.length]
}

const codeOf = (char: string) => char.codePointAt(0) ?? 0

function matches(tokens: readonly Token[], path: readonly string[]): boolean {
  let places = [0]
  for (const token of tokens) {
    if (token.kind === 'rest') return places.length > 0
    places = after(token, places, path)
    if (places.length === 0) return false
  }
  return places.at(-1) === path.length
}

/** The places behind `token` that are reached from `places`; both ascend. */
function after(token: Exclude<Token, { kind: 'rest' }>, places: readonly number[], path: readonly string[]): number[] {
  if (token.kind === 'char') {
    return places.flatMap(at => (at < path.length && token.isIt(path[at] ?? '') ? [at + 1] : []))
  }
  const next: number[] = []
  let isOpen = false
  let at = places[0] ?? 0
  for (let index = 0; at <= path.length; at++) {
    const isPlace = places[index] === at
    if (isPlace) index++
    if (token.kind === 'star') {
      isOpen = isPlace || (isOpen && path[at - 1] !== '/')
      if (isOpen) next.push(at)
      else if (index === places.length) break
    } else {
      if (isPlace || (isOpen && path[at - 1] === '/')) next.push(at)
      isOpen ||= isPlace
    }
  }
  return next
}
