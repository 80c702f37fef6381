import { z } from 'zod'

const UNITS: Record<string, number> = { '': 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 }
/** Just below 2^53 bytes: more is no number that everyone reads as the same. */
const TOO_LARGE = 'is more than can be counted: 8388607g is the most'
const TEXT = /^\d+(\.\d+)?[bkmg]?$/i

const textSchema = z
  .string()
  .regex(TEXT, 'bytes, or a number with k, m or g')
  .refine(text => !TEXT.test(text) || Number.isSafeInteger(bytesOf(text)), TOO_LARGE)

/** As Docker takes sizes: bytes, or a number with a unit. */
export const sizeSchema = z.union([z.int().min(1), textSchema])

/** A size that may be nothing at all: of what is kept, say. */
export const sizeOrNothingSchema = z.union([z.int().min(0), textSchema])

export type Size = number | string

/** Bytes of a checked size. */
export function bytesOf(size: Size): number {
  const [, amount, unit = ''] = /^([\d.]+)([bkmg]?)$/i.exec(String(size)) ?? []
  return Math.floor(Number(amount) * (UNITS[unit.toLowerCase()] ?? Number.NaN))
}

/** What is to be left of something; undefined: all of it may go, so that an order which keeps nothing takes what has no bytes, too. */
export function keptBytesOf(size: Size | undefined): number | undefined {
  return size === undefined ? undefined : bytesOf(size) || undefined
}
