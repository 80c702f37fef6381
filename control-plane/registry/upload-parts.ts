import { z } from 'zod'
import type { BlobParts } from '#shared/protocol/agent.ts'

const MIB = 1024 * 1024
/** What is sent anew at most when a line breaks. */
const PART_BYTES = 64 * MIB
/** Of the 10,000 that S3 and R2 take: each has a tag in the upload's row. */
const MAX_PARTS = 1000

/** The tags of the parts that came, by their numbers. */
const tagsSchema = z.record(z.coerce.number().int().min(1), z.string())

/** Whether a blob is uploaded in parts; a smaller one goes by one URL. */
export const isInParts = (size: number): boolean => size > PART_BYTES

/** Parts of 64 MiB, or larger so that there are at most a thousand. */
function partBytes(size: number): number {
  return Math.max(PART_BYTES, Math.ceil(size / MAX_PARTS / MIB) * MIB)
}

export const partCount = (size: number): number => Math.ceil(size / partBytes(size))

/** The place of a part in a blob of `size` bytes. */
export function partOf(size: number, number: number) {
  const offset = (number - 1) * partBytes(size)
  return { number, offset, size: Math.min(partBytes(size), size - offset) }
}

export function partTagsOf(recorded: string | null | undefined): Map<number, string> {
  const tags = tagsSchema.parse(JSON.parse(recorded ?? '{}'))
  return new Map(Object.entries(tags).map(([number, tag]) => [Number(number), tag]))
}

export function missingParts(recorded: string | null | undefined, size: number): BlobParts {
  const came = partTagsOf(recorded)
  const all = Array.from({ length: partCount(size) }, (_, index) => index + 1)
  return { bytes: partBytes(size), missing: all.filter(number => !came.has(number)) }
}
