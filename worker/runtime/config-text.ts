/** Of ES2026, which V8 has and TypeScript's library does not name yet. */
const withRaw = JSON as typeof JSON & { rawJSON(text: string): unknown }
/** The kernel's RLIM_INFINITY, which no number of JavaScript is. */
const UNLIMITED = withRaw.rawJSON(String(2n ** 64n - 1n))
const LARGEST = 2 ** 63

/** A configuration, or a part of it, as a runtime reads it: limits of -1, and those that were read from such a text, are unlimited. Pure. */
export function configText(config: unknown): string {
  return JSON.stringify(config, (key, value) => {
    const isLimit = (key === 'hard' || key === 'soft') && typeof value === 'number'
    return isLimit && (value === -1 || value >= LARGEST) ? UNLIMITED : value
  })
}
