import fs from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import koffi from 'koffi'

/** Calls of Node that change what a disk has; `…Sync` and the promises of the same name follow from them. */
const CHANGES = [
  'mkdir',
  'mkdtemp',
  'rename',
  'rm',
  'rmdir',
  'unlink',
  'link',
  'symlink',
  'write',
  'writeFile',
  'fsync',
]
/** Calls of the C library that change a disk or the mount table. */
const LIBRARY_CHANGES = new Set(['mount', 'umount2', 'syncfs', 'ioctl', 'syscall'])

type Call = (...args: unknown[]) => unknown
type Step = (name: string) => void

/**
 * From now on `before` runs ahead of each call of this thread that changes files or mounts, with the call's name, and may
 * do what it likes: kill the process, keep a copy of the disk. What it calls itself does not count. To be called before
 * the first import of `host/syscalls.ts`, which looks its functions up once.
 */
export function hookFileCalls(before: Step): void {
  let isInside = false
  const step = (name: string) => {
    if (isInside) return
    isInside = true
    try {
      before(name)
    } finally {
      isInside = false
    }
  }
  for (const name of CHANGES) {
    for (const variant of [name, `${name}Sync`]) hook(fs, variant, step)
    hook(fs.promises, name, step)
  }
  syncBuiltinESMExports()
  hookLibrary(step)
}

function hook(holder: object, name: string, step: Step): void {
  const original: unknown = Reflect.get(holder, name)
  if (typeof original !== 'function') return
  const hooked = function (this: unknown, ...args: unknown[]): unknown {
    step(name)
    return Reflect.apply(original, this, args)
  }
  // What util.promisify looks for comes along.
  Reflect.set(holder, name, Object.assign(hooked, original))
}

function hookLibrary(step: Step): void {
  const load = koffi.load
  koffi.load = (...args: Parameters<typeof load>) => {
    const library = load(...args)
    const make = library.func.bind(library) as Call
    const func = (...definition: unknown[]) => hookFunction(make(...definition), String(definition[0]), step)
    return Object.create(library, { func: { value: func } })
  }
}

function hookFunction(made: unknown, name: string, step: Step): unknown {
  if (typeof made !== 'function' || !LIBRARY_CHANGES.has(name)) return made
  const during =
    (call: unknown) =>
    (...values: unknown[]) => {
      step(name)
      return Reflect.apply(call as Call, undefined, values)
    }
  return Object.assign(during(made), { async: during(Reflect.get(made, 'async')) })
}
