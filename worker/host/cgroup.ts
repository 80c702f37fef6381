import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '#shared/ports/clock.ts'
import { unmount } from './mount.ts'
import { readMounts } from './mount-table.ts'
import { MS, mount } from './syscalls.ts'

export const CGROUP_ROOT = '/sys/fs/cgroup'
const ROOT = CGROUP_ROOT

/** `v2`: one tree. `v1`: a tree a controller, with or without an empty v2 tree beside them ("hybrid"). */
export type CgroupVersion = 'v1' | 'v2'

export function cgroupVersion(): CgroupVersion {
  return existsSync(join(ROOT, 'cgroup.controllers')) ? 'v2' : 'v1'
}

/** The folder in which processes of an instance are listed and frozen: `/slipway-<instance>/<container>` below a root. */
export function cgroupRoot(instance: string): string {
  return `/slipway-${instance}`
}

const freezerTree = () => (cgroupVersion() === 'v2' ? ROOT : join(ROOT, 'freezer'))

/** The folder of a cgroup below which all its processes are listed. */
export const processTree = (cgroupPath: string) => join(freezerTree(), cgroupPath)

export async function isFrozen(cgroupPath: string): Promise<boolean> {
  const isV2 = cgroupVersion() === 'v2'
  const file = join(freezerTree(), cgroupPath, isV2 ? 'cgroup.events' : 'freezer.state')
  const text = await readFile(file, 'utf8').catch(() => '')
  return isV2 ? /^frozen 1$/m.test(text) : text.trim() === 'FROZEN'
}

/** Processes of a cgroup that the kernel killed because its memory limit was reached. */
export async function memoryKills(cgroupPath: string): Promise<number> {
  const isV2 = cgroupVersion() === 'v2'
  const file = isV2 ? join(ROOT, cgroupPath, 'memory.events') : join(ROOT, 'memory', cgroupPath, 'memory.oom_control')
  const [, kills = '0'] = /^oom_kill (\d+)$/m.exec(await readFile(file, 'utf8').catch(() => '')) ?? []
  return Number(kills)
}

/** The containers of an instance that have a cgroup. Costs one folder listing. */
export async function listCgroups(instance: string): Promise<string[]> {
  const entries = await readdir(join(freezerTree(), cgroupRoot(instance)), { withFileTypes: true }).catch(() => [])
  return entries.filter(entry => entry.isDirectory()).map(({ name }) => name)
}

/**
 * crun 1.8 refuses "hybrid" hosts while their v2 tree still owns a controller. On those hugetlb is the one: mounting its
 * v1 tree anywhere moves it over. Another instance's mount would do too, until that instance goes: each has its own.
 * Idempotent; `removeCgroups` takes the mount away.
 */
export async function prepareCgroups(runFolder: string): Promise<void> {
  const target = hugetlbFolder(runFolder)
  const isHybrid = cgroupVersion() === 'v1' && existsSync(join(ROOT, 'unified')) && !existsSync(join(ROOT, 'hugetlb'))
  if (!isHybrid || !(await hasHugetlb()) || (await isMounted(target))) return
  await mkdir(target, { recursive: true })
  mount('cgroup', target, 'cgroup', MS.NOSUID | MS.NODEV | MS.NOEXEC, 'hugetlb')
}

/** runc takes a v1 controller's name from the last part of the path of its mount, whoever made it. */
const hugetlbFolder = (runFolder: string) => join(runFolder, 'cgroup', 'hugetlb')

const hasHugetlb = async () => /^hugetlb\t/m.test(await readFile('/proc/cgroups', 'utf8').catch(() => ''))

const isMounted = async (target: string) => (await readMounts()).some(entry => entry.target === target)

/** Kills what still runs in a cgroup and removes it from every tree. One that is not there is no error. Deadline 10 s. */
export async function removeCgroup(cgroupPath: string): Promise<void> {
  const deadline = systemClock.now() + 10_000
  for (;;) {
    const left = (await Promise.all(trees().map(tree => removeFrom(join(tree, cgroupPath))))).filter(Boolean)
    if (left.length === 0 || systemClock.now() > deadline) return
    await systemClock.sleep(20)
  }
}

function trees(): string[] {
  if (cgroupVersion() === 'v2') return [ROOT]
  return [
    'cpu',
    'cpuacct',
    'cpuset',
    'memory',
    'devices',
    'freezer',
    'blkio',
    'pids',
    'systemd',
    'unified',
    'cpu,cpuacct',
  ]
    .map(name => join(ROOT, name))
    .filter(path => existsSync(path))
}

/** True when something is left for the next try. */
async function removeFrom(folder: string): Promise<boolean> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => undefined)
  if (!entries) return false
  for (const entry of entries) if (entry.isDirectory()) await removeFrom(join(folder, entry.name))
  await writeFile(join(folder, 'freezer.state'), 'THAWED').catch(() => {})
  const processes = await readFile(join(folder, 'cgroup.procs'), 'utf8').catch(() => '')
  for (const pid of processes.split('\n').filter(Boolean)) {
    try {
      process.kill(Number(pid), 'SIGKILL')
    } catch {
      // It ended meanwhile.
    }
  }
  await rmdir(folder).catch(() => {})
  return existsSync(folder)
}

/** Removes the cgroups of an instance and the mount that `prepareCgroups` made. */
export async function removeCgroups(instance: string, runFolder: string): Promise<void> {
  await removeCgroup(cgroupRoot(instance))
  const target = hugetlbFolder(runFolder)
  if (!(await isMounted(target))) return
  await removeFrom(join(target, cgroupRoot(instance))) // Or the kernel would not give the controller back.
  await unmount(target)
}
