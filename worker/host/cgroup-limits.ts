import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cgroupVersion } from './cgroup.ts'

const ROOT = '/sys/fs/cgroup'
const CONTROLLERS = ['cpu', 'cpuset', 'memory', 'blkio', 'pids']

/**
 * The names of all files that a new cgroup of this host has, in whichever tree: what containers can be limited by. Makes an empty
 * cgroup and takes it away.
 */
export function cgroupFiles(instance: string): Set<string> {
  const isV2 = cgroupVersion() === 'v2'
  // As a runtime does it before it makes a container's.
  if (isV2) for (const name of ['cpu', 'cpuset', 'io', 'memory', 'pids']) enable(name)
  const trees = isV2 ? [ROOT] : CONTROLLERS.map(name => join(ROOT, name)).filter(path => existsSync(path))
  return new Set(trees.flatMap(tree => filesOfNew(join(tree, `slipway-${instance}-look`))))
}

function enable(controller: string): void {
  try {
    writeFileSync(join(ROOT, 'cgroup.subtree_control'), `+${controller}`)
  } catch {
    // The host does not have it, or keeps it for itself: then no file of it will be there.
  }
}

function filesOfNew(folder: string): string[] {
  try {
    mkdirSync(folder, { recursive: true })
    return readdirSync(folder)
  } finally {
    if (existsSync(folder)) rmdirSync(folder)
  }
}

/** What containers may choose from (cpuset(7)). */
export function cpusets(): { cpusetCpus: string; cpusetMems: string } {
  const first = (...paths: string[]) =>
    paths.map(path => join(ROOT, path)).find(path => existsSync(path) && readFileSync(path, 'utf8').trim() !== '')
  const read = (path: string | undefined) => (path === undefined ? '' : readFileSync(path, 'utf8').trim())
  return {
    cpusetCpus: read(first('cpuset.cpus.effective', 'cpuset/cpuset.effective_cpus', 'cpuset/cpuset.cpus')),
    cpusetMems: read(first('cpuset.mems.effective', 'cpuset/cpuset.effective_mems', 'cpuset/cpuset.mems')),
  }
}
