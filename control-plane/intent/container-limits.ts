import { type FurtherLimits, ULIMITS, type Ulimit } from '#shared/domain/resources.ts'
import { bytesOf } from '#shared/domain/size.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { CreateContainer } from '#shared/protocol/containers.ts'

type Asked = Omit<CreateContainer, 'image'>

/** Below it nothing starts, and above it no machine has any. */
const MEMORY_MINIMUM = 6 * 1024 ** 2
const MEMORY_MAXIMUM = 1024 ** 5

/** "memory" in bytes. Errors: `request.invalid`. Pure. */
export function memoryBytes(size: string | number | undefined): number | undefined {
  if (size === undefined) return undefined
  const bytes = bytesOf(size)
  if (bytes >= MEMORY_MINIMUM && bytes <= MEMORY_MAXIMUM) return bytes
  throw invalid('memory', 'must be from 6m to 1048576g: a smaller container cannot start.')
}

/** What was asked for as limits of a spec, which are no contradiction in themselves. Errors: `request.invalid`. Pure. */
export function furtherLimits(asked: Asked): FurtherLimits {
  refuseContradictions(asked)
  return withoutNothing({
    memorySwap: memorySwap(asked),
    memoryReservation: memoryReservation(asked),
    memorySwappiness: asked.memorySwappiness,
    oomKillDisable: asked.oomKillDisable || undefined,
    oomScoreAdj: asked.oomScoreAdj,
    cpuShares: asked.cpuShares,
    cpuPeriod: asked.cpuPeriod,
    cpuQuota: asked.cpuQuota,
    cpusetCpus: cpuList('cpusetCpus', asked.cpusetCpus),
    cpusetMems: cpuList('cpusetMems', asked.cpusetMems),
    blkioWeight: asked.blkioWeight,
    deviceReadBps: rates(asked.deviceReadBps),
    deviceWriteBps: rates(asked.deviceWriteBps),
    deviceReadIops: rates(asked.deviceReadIops),
    deviceWriteIops: rates(asked.deviceWriteIops),
    ulimits: ulimits(asked.ulimits),
    shmSize: asked.shmSize === undefined ? undefined : bytesOf(asked.shmSize),
  })
}

function refuseContradictions({ cpus, cpuPeriod, cpuQuota, memory, oomKillDisable }: Asked): void {
  if (cpus !== undefined && (cpuPeriod !== undefined || cpuQuota !== undefined)) {
    throw invalid('cpus', 'says the same as cpuPeriod and cpuQuota: give it, or those.')
  }
  if (oomKillDisable && memory === undefined) {
    throw invalid('oomKillDisable', 'without "memory" would let it take all of the host: give a limit, too.')
  }
}

function memorySwap({ memory, memorySwap: asked }: Asked): number | undefined {
  if (asked === undefined) return undefined
  if (memory === undefined) throw invalid('memorySwap', 'is memory and swap together: give "memory", too.')
  if (asked === -1 || asked === '-1') return -1
  const bytes = bytesOf(asked)
  if (bytes >= (memoryBytes(memory) ?? 0)) return bytes
  throw invalid('memorySwap', 'is memory and swap together: it must be at least "memory".')
}

function memoryReservation({ memory, memoryReservation: asked }: Asked): number | undefined {
  if (asked === undefined) return undefined
  const bytes = bytesOf(asked)
  if (memory === undefined || bytes <= bytesOf(memory)) return bytes
  throw invalid('memoryReservation', 'must be less than "memory", which is the limit.')
}

function cpuList(field: string, list: string | undefined): string | undefined {
  const turned = list?.split(',').find(part => {
    const [first = 0, last = first] = part.split('-').map(Number)
    return last < first
  })
  if (turned === undefined) return list
  throw invalid(field, `${turned} ends before it begins: write the smaller number first.`)
}

function rates(asked: Record<string, string | number> | undefined): Record<string, number> | undefined {
  return filled(Object.fromEntries(Object.entries(asked ?? {}).map(([device, rate]) => [device, bytesOf(rate)])))
}

function ulimits(asked: Asked['ulimits']): Record<string, Ulimit> | undefined {
  const entries = Object.entries(asked ?? {}).map(([name, value]) => [name, ulimit(name, value)] as const)
  // In one order, so that what is the same is the same.
  return filled(
    Object.fromEntries(entries.sort(([a], [b]) => ULIMITS.indexOf(a as never) - ULIMITS.indexOf(b as never))),
  )
}

function ulimit(name: string, value: string | number | Ulimit): Ulimit {
  const number = (text: string) => (text === 'unlimited' ? -1 : Number(text))
  const [soft = 0, hard = soft] =
    typeof value === 'object' ? [value.soft, value.hard] : String(value).split(':').map(number)
  const isRight = hard === -1 || (soft !== -1 && soft <= hard)
  if (isRight) return { soft, hard }
  throw invalid(
    `ulimits.${name}`,
    `has a soft limit above its hard one: ${soft === -1 ? 'unlimited' : soft} and ${hard}.`,
  )
}

function filled<T extends object>(record: T): T | undefined {
  return Object.keys(record).length > 0 ? record : undefined
}

/** What was left out is not there: two specs that say the same are the same text. */
export function withoutNothing<T extends object>(record: T): T {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as T
}

export function invalid(field: string, what: string): SlipwayError {
  return new SlipwayError('request.invalid', `${field} ${what}`, { facts: { field } })
}
