import { z } from 'zod'

const UNITS: Record<string, number> = { '': 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }

/** As Docker takes sizes: bytes, or a number with a unit. */
export const sizeSchema = z.union([
  z.int().min(1),
  z.string().regex(/^\d+(\.\d+)?[bkmg]?$/i, 'bytes, or a number with k, m or g'),
])

/** Bytes of a checked size. */
export function bytesOf(size: z.infer<typeof sizeSchema>): number {
  const [, amount, unit = ''] = /^([\d.]+)([bkmg]?)$/i.exec(String(size)) ?? []
  return Math.floor(Number(amount) * (UNITS[unit.toLowerCase()] ?? Number.NaN))
}
