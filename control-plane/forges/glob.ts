/** `*`, `?` within a name; `**` over names; `**` and a slash: any folders, or none. */
const TOKENS = /\*\*\/|\*\*|\*|\?|[^*?]/gsu

/**
 * Whether a pattern is for all of a text. Every state of the pattern is followed at once, so that the time is bounded by
 * the product of both lengths, whatever either says. Pure.
 */
export function matchesGlob(pattern: string, text: string): boolean {
  const tokens = pattern.match(TOKENS) ?? []
  let states = closed(tokens, new Set([0]))
  for (const letter of text) {
    const next = new Set<number>()
    for (const state of states) for (const to of stepped(tokens, state, letter)) next.add(to)
    states = closed(tokens, next)
    if (states.size === 0) return false
  }
  return states.has(tokens.length)
}

/** A state below zero is inside of folders: `-1 - index` of its token, which only a slash ends. */
function stepped(tokens: readonly string[], state: number, letter: string): number[] {
  const index = state < 0 ? -1 - state : state
  const token = tokens[index]
  switch (token) {
    case undefined:
      return []
    case '**/':
      return letter === '/' ? [-1 - index, index + 1] : [-1 - index]
    case '**':
      return [index]
    case '*':
      return letter === '/' ? [] : [index]
    case '?':
      return letter === '/' ? [] : [index + 1]
    default:
      return token === letter ? [index + 1] : []
  }
}

/** With what is reached without a letter. */
function closed(tokens: readonly string[], states: Set<number>): Set<number> {
  for (const state of states) if (state >= 0 && tokens[state]?.startsWith('*')) states.add(state + 1)
  return states
}
