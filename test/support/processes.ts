import { readdirSync, readFileSync } from 'node:fs'

/** Processes of this machine that have this word as an argument: a container's, when its command has a word of its own. */
export function processesOf(word: string): number[] {
  return pids().filter(pid => argsOf(pid).includes(word))
}

/** The monitor of a container; undefined while it has none. */
export function monitorOf(containerId: string): number | undefined {
  return pids().find(pid => argsOf(pid)[0]?.endsWith('conmon') && argsOf(pid).includes(containerId))
}

const pids = () =>
  readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .map(Number)

function argsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return [] // It ended meanwhile.
  }
}
