import { z } from 'zod'
import { type AskedLimits, askedLimitsSchema, type BuildLimits, buildLimitsSchema } from '#shared/domain/build-needs.ts'
import { durationMs, durationSchema, formatDuration } from '#shared/domain/duration.ts'
import { bytesOf, sizeSchema } from '#shared/domain/size.ts'
import { SlipwayError } from '#shared/errors.ts'
import { sizeInWords } from '#shared/size-in-words.ts'

/** What whoever runs Slipway says about all builds. */
export interface BuildPolicy {
  /** Where a request says nothing. */
  defaults: BuildLimits
  /** No request gets more. */
  maxima: BuildLimits
  /** How long a build may wait for a host, in milliseconds. */
  waitMs: number
  /** What is kept of cache mounts in the blob store. */
  cacheMounts: {
    /** Of one: its files together. */
    maxBytes: number
    /** Of all: compressed. */
    totalBytes: number
    /** One that no host asked for goes after it, in milliseconds. */
    unusedMs: number
  }
}

/** A context lives as long. */
const WAIT = '24h'
const DEFAULTS: AskedLimits = { timeout: '2h', disk: '64g' }

const policySchema = z.strictObject({
  default: askedLimitsSchema.strict().default(DEFAULTS),
  max: askedLimitsSchema.strict().default({}),
  wait: durationSchema.default(WAIT),
  cacheMounts: z
    .strictObject({
      max: sizeSchema.default('5g'),
      total: sizeSchema.default('50g'),
      unused: durationSchema.default('14d'),
    })
    .prefault({}),
})

/** `{"default": {"memory": "2g"}, "max": {"timeout": "4h"}, "wait": "24h", "cacheMounts": {"total": "100g"}}`; undefined is all defaults. Throws what zod throws. */
export function readBuildPolicy(json: string | undefined): BuildPolicy {
  const { default: defaults, max, wait, cacheMounts } = policySchema.parse(JSON.parse(json ?? '{}'))
  return {
    ...{ defaults: inNumbers(defaults), maxima: inNumbers(max), waitMs: durationMs(wait) },
    cacheMounts: {
      ...{ maxBytes: bytesOf(cacheMounts.max), totalBytes: bytesOf(cacheMounts.total) },
      unusedMs: durationMs(cacheMounts.unused),
    },
  }
}

/** Limits as numbers. Errors: `request.invalid` for memory that no process could live in. */
function inNumbers({ cpus, memory, disk, timeout }: AskedLimits): BuildLimits {
  const { data, error } = buildLimitsSchema.safeParse({
    cpus,
    memoryBytes: memory === undefined ? undefined : bytesOf(memory),
    diskBytes: disk === undefined ? undefined : bytesOf(disk),
    timeoutMs: timeout === undefined ? undefined : durationMs(timeout),
  })
  if (data) return data
  const [issue] = error.issues
  throw new SlipwayError('request.invalid', `${issue?.path.join('.')}: ${issue?.message}. Memory is at least 6m.`)
}

const NAMES = { cpus: 'cpus', memoryBytes: 'memory', diskBytes: 'disk', timeoutMs: 'timeout' } as const

/** What a build gets: what was asked for, else the default, never more than the maximum. Pure. Errors: `request.invalid`. */
export function limitsFor(asked: AskedLimits, { defaults, maxima }: BuildPolicy): BuildLimits {
  const wanted = inNumbers(asked)
  const limits: BuildLimits = {}
  for (const [key, name] of Object.entries(NAMES) as [keyof BuildLimits, string][]) {
    const [most, want] = [maxima[key], wanted[key]]
    if (want !== undefined && most !== undefined && want > most) {
      throw new SlipwayError(
        'request.invalid',
        `${name}: no build of this Slipway may have more than ${shown(key, most)}.`,
      )
    }
    const value = want ?? smaller(defaults[key], most)
    if (value !== undefined) limits[key] = value
  }
  return limits
}

function smaller(one: number | undefined, other: number | undefined): number | undefined {
  if (one === undefined || other === undefined) return one ?? other
  return Math.min(one, other)
}

function shown(key: keyof BuildLimits, value: number): string {
  if (key === 'cpus') return String(value)
  return key === 'timeoutMs' ? formatDuration(value) : sizeInWords(value)
}
