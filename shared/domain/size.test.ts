import { describe, expect, test } from 'vitest'
import { pruneBuildCacheSchema } from '../protocol/build-cache-usage.ts'
import { createContainerSchema } from '../protocol/containers.ts'
import { pruneHostSchema } from '../protocol/prune-host.ts'
import { askedLimitsSchema } from './build-needs.ts'
import { bytesOf, sizeOrNothingSchema, sizeSchema } from './size.ts'

const MOST = Number.MAX_SAFE_INTEGER
const TOO_LARGE = ['8388608g', '99999999999999999999g', '9007199254740992', MOST + 1]

describe('sizes', () => {
  test('up to what can be counted', () => {
    for (const size of [1, MOST, '8388607g', '1.5k', '7B']) expect(sizeSchema.safeParse(size).success).toBe(true)
    expect(['1.5k', '7B', 12, '8388607g'].map(bytesOf)).toEqual([1536, 7, 12, 8388607 * 1024 ** 3])
  })

  test.each(TOO_LARGE)('%s is refused in each field, with a sentence', size => {
    const fields = [
      pruneHostSchema.safeParse({ buildCache: true, keepBytes: size }),
      pruneBuildCacheSchema.safeParse({ keepBytes: size }),
      askedLimitsSchema.safeParse({ memory: size }),
      askedLimitsSchema.safeParse({ disk: size }),
      createContainerSchema.safeParse({ image: 'a', memory: size }),
    ]
    for (const { error } of fields) expect(error?.issues[0]?.message).toMatch(/more than can be counted|too big/i)
  })

  test('nothing is a size where something may be kept, however it is written', () => {
    for (const size of [0, '0', '0g']) expect(sizeOrNothingSchema.safeParse(size).success).toBe(true)
    expect(sizeSchema.safeParse(0).success).toBe(false)
    for (const size of [-1, 1.5, '1t', '-1']) expect(sizeOrNothingSchema.safeParse(size).success).toBe(false)
  })
})
