import { readFileSync } from 'node:fs'

export interface ProcessFacts {
  /** One letter of /proc/PID/stat (proc_pid_stat(5)); `Z` is a process that has ended and was not waited for. */
  state: string
  /** Cgroup paths, all controllers of it. */
  cgroups: string[]
}

/** What the kernel says of a process; undefined when there is none. Costs two small reads. */
export function processFacts(pid: number): ProcessFacts | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const cgroup = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
    return {
      state: stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3),
      cgroups: cgroup
        .split('\n')
        .map(line => line.split(':').slice(2).join(':'))
        .filter(Boolean),
    }
  } catch {
    return undefined
  }
}

export function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return []
  }
}

/** The host's own hard limit of open files: nothing may ask for more. */
export function maxOpenFiles(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8')
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1]
  return hard === undefined || hard === 'unlimited' ? 1024 * 1024 : Number(hard)
}

/** Sends a signal; false when the process is gone. */
export function signalProcess(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal)
    return true
  } catch {
    return false
  }
}
