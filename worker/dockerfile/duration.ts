import { WordError } from './words.ts'

const UNITS: Record<string, number> = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 60e9, h: 3600e9 }
const LEAST = 1e6

/**
 * Nanoseconds of a duration as Go writes it (`1m30s`, `1.5h`), which Docker's configuration holds. 0 is "as usual"; else at
 * least a millisecond. Throws a WordError. Pure.
 */
export function nanoseconds(text: string, name: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)]
  const isWhole = parts.length > 0 && parts.map(([part]) => part).join('') === text
  if (!isWhole && text !== '0') throw new WordError(`${name} takes a duration such as 30s or 1m30s, not ${text}`, text)
  const sum = Math.round(parts.reduce((left, [, count, unit = '']) => left + Number(count) * (UNITS[unit] ?? 0), 0))
  if (sum === 0 || (sum >= LEAST && sum <= Number.MAX_SAFE_INTEGER)) return sum
  throw new WordError(`${name} has to be at least 1ms and at most 104 days, and ${text} is not`, text)
}
