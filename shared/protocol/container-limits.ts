import { z } from 'zod'
import { furtherLimitsSchema, ULIMITS, ulimitSchema } from '../domain/resources.ts'
import { sizeSchema } from '../domain/size.ts'
import { namedRecord } from './named-record.ts'

const said = <T extends z.ZodType>(schema: T, description: string) => schema.optional().meta({ description })

const { memorySwappiness, oomKillDisable, oomScoreAdj, cpuShares, cpuPeriod, cpuQuota, cpusetCpus, cpusetMems } =
  furtherLimitsSchema.shape
const { blkioWeight } = furtherLimitsSchema.shape
const isBlockDevice = (path: string) => /^\/dev\/[^\0]{1,250}$/.test(path)
const MOST_DEVICES = 64
const byDevice = <T extends z.ZodType>(rate: T) =>
  namedRecord(isBlockDevice, 'a block device of the host, such as /dev/sda', rate, MOST_DEVICES)
const bytesASecond = byDevice(sizeSchema)
const timesASecond = byDevice(z.int().min(1))
const ULIMIT = /^(-1|unlimited|\d{1,15})(:(-1|unlimited|\d{1,15}))?$/
const ULIMIT_FORM = 'a number, SOFT:HARD or {soft, hard}; -1 for unlimited'
const askedUlimitSchema = z.union([z.int().min(-1), z.string().regex(ULIMIT, ULIMIT_FORM), ulimitSchema], ULIMIT_FORM)

/** Limits of `POST /v1/containers`, named as the options of `docker run`. */
export const askedLimits = {
  memorySwap: said(
    z.union([z.literal(-1), z.literal('-1'), sizeSchema], 'a size of at least "memory", or -1'),
    'Memory and swap together, with "memory" alone; -1: no limit of swap. Left out: no swap.',
  ),
  memoryReservation: said(
    sizeSchema,
    'What the kernel leaves the container when memory is short; less than "memory". No limit.',
  ),
  memorySwappiness: memorySwappiness.meta({ description: '0 to 100; hosts with cgroup v1 alone.' }),
  oomKillDisable: oomKillDisable.meta({
    description: 'What wants more memory waits instead of being killed; with "memory", on hosts with cgroup v1 alone.',
  }),
  oomScoreAdj: oomScoreAdj.meta({
    description: '-1000 to 1000: whom the kernel kills first when the host has no memory left. Below 0: privileged.',
  }),
  cpuShares: cpuShares.meta({ description: '2 to 262144: its share of CPUs that are asked for; others have 1024.' }),
  cpuPeriod: cpuPeriod.meta({ description: 'Microseconds, 1000 to 1000000; 100000, if left out. Not with "cpus".' }),
  cpuQuota: cpuQuota.meta({ description: 'Microseconds of CPU in each period, at least 1000. Not with "cpus".' }),
  cpusetCpus: cpusetCpus.meta({ description: 'The CPUs that it may use, such as 0-2,7.' }),
  cpusetMems: cpusetMems.meta({ description: 'The memory nodes that it may use, such as 0-1.' }),
  blkioWeight: blkioWeight.meta({ description: '10 to 1000: its share of disks that are asked for.' }),
  deviceReadBps: said(bytesASecond, 'Bytes a second, by block device of the host: {"/dev/sda": "10m"}.'),
  deviceWriteBps: said(bytesASecond, 'As deviceReadBps, written.'),
  deviceReadIops: said(timesASecond, 'Reads a second, by block device of the host.'),
  deviceWriteIops: said(timesASecond, 'Writes a second, by block device of the host.'),
  ulimits: said(
    namedRecord(
      name => ULIMITS.some(known => known === name),
      `one of ${ULIMITS.join(', ')}`,
      askedUlimitSchema,
      ULIMITS.length,
    ),
    '{"nofile": 1024, "nproc": "64:128"}: soft[:hard], -1 for unlimited; never above the host\'s own hard limits.',
  ),
  shmSize: said(sizeSchema, 'Of /dev/shm; 64m, if left out.'),
}
