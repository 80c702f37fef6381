import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { systemClock } from '#shared/ports/clock.ts'
import { processTree } from './cgroup.ts'
import { signalProcess } from './process.ts'

const ROUNDS = 50
const ROUND_MS = 10

/**
 * Kills what was begun with a mark in its environment, and all that came of it: what left its parent has the mark, what dropped
 * its environment has the parent. `also` is a process outside of the cgroup whose children count as well. Ends once none
 * is left, or after half a second: what is frozen dies when it thaws.
 */
export async function endMarked(cgroupPath: string, mark: string, also?: number): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    const roots = await markedIn(cgroupPath, mark)
    const all = new Set<number>()
    for (const pid of roots) await addWithChildren(pid, all)
    if (also !== undefined) {
      await addWithChildren(also, all)
      all.delete(also)
    }
    if (all.size === 0) return
    for (const pid of all) signalProcess(pid, 'SIGKILL')
    await systemClock.sleep(ROUND_MS)
  }
}

async function markedIn(cgroupPath: string, mark: string): Promise<number[]> {
  const found: number[] = []
  for (const pid of await processesBelow(processTree(cgroupPath))) {
    const environment = await readFile(`/proc/${pid}/environ`, 'utf8').catch(() => '') // Empty of one that has ended.
    if (environment.split('\0').some(entry => entry === mark || entry.startsWith(`${mark}-`))) found.push(pid)
  }
  return found
}

async function processesBelow(folder: string): Promise<number[]> {
  const text = await readFile(join(folder, 'cgroup.procs'), 'utf8').catch(() => '')
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const below = entries.filter(entry => entry.isDirectory()).map(({ name }) => processesBelow(join(folder, name)))
  return [...text.split('\n').filter(Boolean).map(Number), ...(await Promise.all(below)).flat()]
}

async function addWithChildren(pid: number, all: Set<number>): Promise<void> {
  if (all.has(pid)) return
  all.add(pid)
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
  for (const child of children.split(' ').filter(Boolean)) await addWithChildren(Number(child), all)
}
