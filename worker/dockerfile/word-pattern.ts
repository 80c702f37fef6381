import { WordError } from './word-error.ts'

/**
 * Shell patterns inside of `${x#…}`, `${x%…}` and `${x/…/…}` as BuildKit has them: `*`, `?`, and a backslash before one of
 * these. Matched part by part between the stars, in at most the product of both lengths. Pure.
 */
type Char = string | undefined // Undefined is any character.

/** The parts between stars. */
interface Pattern {
  parts: Char[][]
}

const PATTERN_LIMIT = 1024

function parsePattern(text: string, escapeChar: string): Pattern {
  if (text.length > PATTERN_LIMIT) throw new WordError(`A pattern is longer than ${PATTERN_LIMIT} characters`)
  const parts: Char[][] = [[]]
  for (let at = 0; at < text.length; at++) {
    let char: Char = text[at]
    if (char === escapeChar && at + 1 < text.length) char = text[++at]
    else if (char === '*') {
      parts.push([])
      continue
    } else if (char === '?') char = undefined
    parts.at(-1)?.push(char)
  }
  return { parts }
}

/** `${value#pattern}`; `isLongest` is `##`. */
export function withoutPrefix(value: string, pattern: string, isLongest: boolean, escapeChar: string): string {
  const { parts } = parsePattern(pattern, escapeChar)
  return value.slice(prefixLength([...value], parts, isLongest) ?? 0)
}

/** `${value%pattern}`; `isLongest` is `%%`. */
export function withoutSuffix(value: string, pattern: string, isLongest: boolean, escapeChar: string): string {
  const { parts } = parsePattern(pattern, escapeChar)
  const mirrored = parts.map(part => part.toReversed()).toReversed()
  const length = prefixLength([...value].reverse(), mirrored, isLongest) ?? 0
  return value.slice(0, value.length - length)
}

/** `${value/pattern/by}`; `isEach` is `${value//pattern/by}`. Each match is the longest from its beginning. */
export function replaced(value: string, pattern: string, by: string, isEach: boolean, escapeChar: string): string {
  const { parts } = parsePattern(pattern, escapeChar)
  if (pattern === '') return value
  const chars = [...value]
  let result = ''
  let from = 0
  while (from < chars.length) {
    const found = firstMatch(chars, parts, from)
    if (!found) break
    result += chars.slice(from, found.start).join('') + by
    from = found.end
    if (!isEach) break
  }
  return result + chars.slice(from).join('')
}

/** In UTF-16 units of the text, since `slice` counts so. */
function prefixLength(chars: readonly string[], parts: readonly Char[][], isLongest: boolean): number | undefined {
  const [first = []] = parts
  if (!isAt(chars, first, 0)) return undefined
  const shortest = chainEnd(chars, parts, first.length)
  if (shortest === undefined) return undefined
  const end = isLongest && parts.length > 1 ? lastEnd(chars, parts.at(-1) ?? [], shortest) : shortest
  return chars.slice(0, end).join('').length
}

function firstMatch(chars: readonly string[], parts: readonly Char[][], from: number) {
  const [first = []] = parts
  const start = find(chars, first, from)
  if (start === undefined) return undefined
  const shortest = chainEnd(chars, parts, start + first.length)
  if (shortest === undefined) return undefined // Nor from any later start: there is less behind it.
  return { start, end: parts.length > 1 ? lastEnd(chars, parts.at(-1) ?? [], shortest) : shortest }
}

/** Where the parts behind the first end, each found as early as it can be. */
function chainEnd(chars: readonly string[], parts: readonly Char[][], from: number): number | undefined {
  let at = from
  for (const part of parts.slice(1)) {
    const found = find(chars, part, at)
    if (found === undefined) return undefined
    at = found + part.length
  }
  return at
}

/** Where the last occurrence of the last part ends; it ends at `least` at the earliest. */
function lastEnd(chars: readonly string[], part: readonly Char[], least: number): number {
  for (let end = chars.length; end > least; end--) if (isAt(chars, part, end - part.length)) return end
  return least
}

function find(chars: readonly string[], part: readonly Char[], from: number): number | undefined {
  for (let at = from; at + part.length <= chars.length; at++) if (isAt(chars, part, at)) return at
  return undefined
}

function isAt(chars: readonly string[], part: readonly Char[], at: number): boolean {
  if (at < 0 || at + part.length > chars.length) return false
  return part.every((char, offset) => char === undefined || char === chars[at + offset])
}
