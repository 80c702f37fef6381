import { z } from 'zod'

const UNITS_MS = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const LARGEST_FIRST = Object.entries(UNITS_MS).toReversed()
const DURATION = /^(\d{1,6})([smhd])$/

/** A length of time as people write it: `90s`, `15m`, `24h`, `7d`. */
export const durationSchema = z.string().regex(DURATION, 'a duration is a number and s, m, h or d: 24h, 7d')

/** As `durationSchema` takes it, in the largest unit that fits. Whole seconds. */
export function formatDuration(ms: number): string {
  const [unit, length] = LARGEST_FIRST.find(([, unitMs]) => ms > 0 && ms % unitMs === 0) ?? (['s', UNITS_MS.s] as const)
  return `${Math.round(ms / length)}${unit}`
}

/** Milliseconds of a checked duration. */
export function durationMs(text: string): number {
  const [, count = '0', unit = 's'] = DURATION.exec(text) ?? []
  return Number(count) * UNITS_MS[unit as keyof typeof UNITS_MS]
}
