/**
 * A pattern of Go's `filepath.Match` for one path segment, as COPY and ADD use it: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
 * Undefined for a pattern that Go would refuse. Pure.
 */
export function segmentPattern(pattern: string): RegExp | undefined {
  let source = ''
  for (let at = 0; at < pattern.length; at++) {
    const char = pattern[at] ?? ''
    if (char === '*') source += '.*'
    else if (char === '?') source += '.'
    else if (char === '\\') source += literal(pattern[++at] ?? '\\')
    else if (char === '[') {
      const [whole, not = '', inside] = /^\[(\^?)((?:\\.|[^\]\\])+)\]/s.exec(pattern.slice(at)) ?? []
      if (whole === undefined || inside === undefined) return undefined
      source += `[${not}${inside.replaceAll('[', '\\[')}]`
      at += whole.length - 1
    } else source += literal(char)
  }
  try {
    return new RegExp(`^${source}$`, 's')
  } catch {
    return undefined // Such as [z-a].
  }
}

export function hasMeta(pattern: string): boolean {
  return /[*?[\\]/.test(pattern)
}

function literal(char: string): string {
  return char.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&')
}
