import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SlipwayError } from '#shared/errors.ts'
import { CGROUP_ROOT, type CgroupVersion, cgroupVersion } from './cgroup.ts'
import { asKernelError, errnoOf } from './kernel-error.ts'

/** What a cgroup may take; what is left out has no limit. */
export interface CgroupLimits {
  /** `swap` counts the memory in, as runtime-spec has it; -1: no limit of it. */
  memory?: { limit: number; swap: number } | undefined
  cpu?: { period: number; quota: number } | undefined
  pids: { limit: number }
}

/** One file of a cgroup, below the root of all trees. */
export interface LimitWrite {
  path: string
  text: string
  /** A kernel without accounting of swap has no such file. */
  isOptional?: boolean
}

const UNLIMITED_PERIOD_US = 100_000

/**
 * The files that bring a cgroup to its limits, in order (cgroup-v1/memory.rst, cgroup-v2.rst, sched-bwc.rst, pids.rst). Under v1 the
 * limit of memory and swap together may never be below the one of memory: whether both grow decides which is first. Pure.
 */
export function limitWrites(
  version: CgroupVersion,
  cgroupPath: string,
  limits: CgroupLimits,
  grows: boolean,
): LimitWrite[] {
  return version === 'v2' ? unifiedWrites(cgroupPath, limits) : treeWrites(cgroupPath, limits, grows)
}

function unifiedWrites(cgroupPath: string, { memory, cpu, pids }: CgroupLimits): LimitWrite[] {
  const file = (name: string) => join(cgroupPath, name)
  const quota = cpu ? `${cpu.quota} ${cpu.period}` : `max ${UNLIMITED_PERIOD_US}`
  return [
    { path: file('memory.max'), text: memory ? String(memory.limit) : 'max' },
    { path: file('memory.swap.max'), text: swapText(memory), isOptional: true },
    { path: file('cpu.max'), text: quota },
    { path: file('pids.max'), text: String(pids.limit) },
  ]
}

/** Of swap alone. */
function swapText(memory: CgroupLimits['memory']): string {
  return memory && memory.swap !== -1 ? String(memory.swap - memory.limit) : 'max'
}

function treeWrites(cgroupPath: string, { memory, cpu, pids }: CgroupLimits, grows: boolean): LimitWrite[] {
  const file = (tree: string, name: string) => join(tree, cgroupPath, name)
  const own = { path: file('memory', 'memory.limit_in_bytes'), text: String(memory?.limit ?? -1) }
  const withSwap = {
    ...{ path: file('memory', 'memory.memsw.limit_in_bytes'), text: String(memory?.swap ?? -1) },
    isOptional: true,
  }
  return [
    ...(grows ? [withSwap, own] : [own, withSwap]),
    { path: file('cpu', 'cpu.cfs_period_us'), text: String(cpu?.period ?? UNLIMITED_PERIOD_US) },
    { path: file('cpu', 'cpu.cfs_quota_us'), text: String(cpu?.quota ?? -1) },
    { path: file('pids', 'pids.max'), text: String(pids.limit) },
  ]
}

/**
 * Gives the processes of a cgroup other limits. Nothing is killed for it: errors are `container.memory-in-use` where they have
 * more memory than they may have and the kernel can take none back, and the kernel's. What was set before one stays.
 */
export async function setLimits(cgroupPath: string, limits: CgroupLimits): Promise<void> {
  const version = cgroupVersion()
  if (version === 'v2' && limits.memory) await takeBack(cgroupPath, limits.memory.limit)
  const grows = version === 'v1' && (limits.memory?.limit ?? Infinity) > (await limitNow(cgroupPath))
  for (const { path, text, isOptional } of limitWrites(version, cgroupPath, limits, grows)) {
    try {
      await writeFile(join(CGROUP_ROOT, path), text, { flag: 'r+' })
    } catch (error) {
      if (isOptional && errnoOf(error) === 'ENOENT') continue
      if (errnoOf(error) === 'EBUSY' && limits.memory) throw inUse(limits.memory.limit)
      throw asKernelError(error, `write ${text} to ${path}`)
    }
  }
}

async function limitNow(cgroupPath: string): Promise<number> {
  return readNumber(join('memory', cgroupPath, 'memory.limit_in_bytes'))
}

/** Under v2 a limit below what is in use kills: so what is too much is taken back before, or the limit is refused. */
async function takeBack(cgroupPath: string, limit: number): Promise<void> {
  const excess = async () => (await readNumber(join(cgroupPath, 'memory.current'))) - limit
  const before = await excess()
  if (!(before > 0)) return
  await writeFile(join(CGROUP_ROOT, cgroupPath, 'memory.reclaim'), String(before), { flag: 'r+' }).catch(() => {})
  if ((await excess()) > 0) throw inUse(limit)
}

function inUse(limit: number): SlipwayError {
  const message = `Its processes have more than ${limit} bytes of memory, and the kernel can take none back: it keeps its old limit for now.`
  return new SlipwayError('container.memory-in-use', message)
}

async function readNumber(path: string): Promise<number> {
  return Number(await readFile(join(CGROUP_ROOT, path), 'utf8').catch(() => 'NaN'))
}
