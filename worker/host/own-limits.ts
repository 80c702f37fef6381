import { existsSync, readFileSync } from 'node:fs'

/** What this process may do and have: nothing that it starts can have more. */

/** proc_pid_limits(5)'s words → setrlimit(2)'s names. */
const NAMES: Record<string, string> = {
  'Max cpu time': 'cpu',
  'Max file size': 'fsize',
  'Max data size': 'data',
  'Max stack size': 'stack',
  'Max core file size': 'core',
  'Max resident set': 'rss',
  'Max processes': 'nproc',
  'Max open files': 'nofile',
  'Max locked memory': 'memlock',
  'Max file locks': 'locks',
  'Max pending signals': 'sigpending',
  'Max msgqueue size': 'msgqueue',
  'Max nice priority': 'nice',
  'Max realtime priority': 'rtprio',
  'Max realtime timeout': 'rttime',
}

/** Hard limits by setrlimit(2)'s names; -1: none. Pure. */
export function hardLimitsFrom(text: string): Record<string, number> {
  const found = text.split('\n').flatMap(line => {
    const [, what = '', hard = ''] = /^(Max [a-z ]+?)\s{2,}\S+\s+(\S+)/.exec(line) ?? []
    const name = NAMES[what]
    return name === undefined ? [] : [[name, hard === 'unlimited' ? -1 : Number(hard)] as const]
  })
  return Object.fromEntries(found)
}

export function hardLimits(): Record<string, number> {
  return hardLimitsFrom(readFileSync('/proc/self/limits', 'utf8'))
}

/** The numbers of the capabilities that this process's children can have at most (proc_pid_status(5), CapBnd). */
export function boundingSet(): number[] {
  const hex = /^CapBnd:\s+([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'
  const bits = BigInt(`0x${hex}`)
  return Array.from({ length: 64 }, (_, bit) => bit).filter(bit => (bits >> BigInt(bit)) & 1n)
}

/** Whom the kernel kills first when the host has no memory left (proc_pid_oom_score_adj(5)). */
export function ownOomScore(): number {
  return Number(readFileSync('/proc/self/oom_score_adj', 'utf8'))
}

/** Of a checked name. */
export function hasSysctl(name: string): boolean {
  return existsSync(`/proc/sys/${name.replaceAll('.', '/')}`)
}

export function hasApparmor(): boolean {
  return existsSync('/sys/kernel/security/apparmor/profiles')
}
