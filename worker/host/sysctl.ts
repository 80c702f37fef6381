import { readFileSync, writeFileSync } from 'node:fs'
import { asKernelError, errnoOf } from './kernel-error.ts'

/**
 * Settings below /proc/sys, such as `net/ipv4/ip_forward`; those of networks belong to the calling thread's namespace,
 * which is why all of this is synchronous.
 */
const path = (name: string) => `/proc/sys/${name}`

/** Undefined where the kernel has no such setting: built without it, or its interface is gone. */
export function readSysctl(name: string): string | undefined {
  try {
    return readFileSync(path(name), 'utf8').trim()
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw asKernelError(error, `read ${path(name)}`)
  }
}

/** Writes a setting that has another value. False where the kernel has no such setting. */
export function ensureSysctl(name: string, value: string): boolean {
  const present = readSysctl(name)
  if (present === undefined) return false
  if (present === value) return true
  try {
    writeFileSync(path(name), value)
    return true
  } catch (error) {
    throw asKernelError(error, `write ${path(name)}`)
  }
}
