import { z } from 'zod'

/** setrlimit(2)'s names, as `docker run --ulimit` has them. */
export const ULIMITS = [
  ...['core', 'cpu', 'data', 'fsize', 'locks', 'memlock', 'msgqueue', 'nice', 'nofile', 'nproc', 'rss', 'rtprio'],
  ...['rttime', 'sigpending', 'stack'],
] as const
/** -1: unlimited. */
export const ulimitSchema = z.object({ soft: z.int().min(-1), hard: z.int().min(-1) })
/** By name. */
export const ulimitsSchema = z.record(z.string(), ulimitSchema)
export type Ulimit = z.infer<typeof ulimitSchema>

/** `0-2,7`, as the kernel lists CPUs and memory nodes (cpuset(7), "List format"). */
export const cpuListSchema = z
  .string()
  .max(1024)
  .regex(/^\d{1,5}(-\d{1,5})?(,\d{1,5}(-\d{1,5})?)*$/, 'a list of numbers and ranges, such as 0-2,7')

/** A block device of the host, with what it may give in a second. */
const ratesSchema = z.record(z.string(), z.int().min(1))

/** What `docker run` has besides memory, CPUs and pids, under its words; sizes in bytes, CPU times in microseconds. */
export const furtherLimitsSchema = z.object({
  /** Memory and swap together; -1: as much swap as there is. Left out: no swap beyond the memory. */
  memorySwap: z.int().min(-1).optional(),
  memoryReservation: z.int().min(1).optional(),
  memorySwappiness: z.int().min(0).max(100).optional(),
  oomKillDisable: z.boolean().optional(),
  oomScoreAdj: z.int().min(-1000).max(1000).optional(),
  cpuShares: z.int().min(2).max(262_144).optional(),
  cpuPeriod: z.int().min(1000).max(1_000_000).optional(),
  cpuQuota: z.int().min(1000).optional(),
  cpusetCpus: cpuListSchema.optional(),
  cpusetMems: cpuListSchema.optional(),
  blkioWeight: z.int().min(10).max(1000).optional(),
  deviceReadBps: ratesSchema.optional(),
  deviceWriteBps: ratesSchema.optional(),
  deviceReadIops: ratesSchema.optional(),
  deviceWriteIops: ratesSchema.optional(),
  ulimits: ulimitsSchema.optional(),
  shmSize: z.int().min(1).optional(),
})
export type FurtherLimits = z.infer<typeof furtherLimitsSchema>
export const FURTHER_LIMITS = Object.keys(furtherLimitsSchema.shape) as (keyof FurtherLimits)[]

/** Limits of one container; what is left out is unlimited, but for `pids`, which has a default. */
export const resourcesSchema = z.object({
  memoryBytes: z
    .int()
    .min(6 * 1024 * 1024)
    .optional(),
  cpus: z.number().min(0.01).max(1024).optional(),
  pids: z.int().min(1).max(4_194_304).optional(),
  ...furtherLimitsSchema.shape,
})
export type Resources = z.infer<typeof resourcesSchema>

/** The numbers of a checked list. Pure. */
export function numbersOf(list: string): Set<number> {
  const numbers = new Set<number>()
  for (const part of list.trim().split(',').filter(Boolean)) {
    const [first = 0, last = first] = part.split('-').map(Number)
    for (let number = first; number <= last && numbers.size < 100_000; number++) numbers.add(number)
  }
  return numbers
}
