import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ZfsPrograms } from '#worker/host/zfs.ts'

/**
 * Programs `zfs` and `mount` that act on a folder of a btrfs as OpenZFS's do on a pool (`fake-zfs-main.ts` says what of
 * it); every folder beside `store` counts as lying on the dataset `tank/data`. A file `full` in the store lets space run
 * out. Each call is appended to `calls` there.
 */
export function installFakeZfs(store: string): ZfsPrograms {
  mkdirSync(store)
  const main = join(import.meta.dirname, 'fake-zfs-main.ts')
  const install = (name: string) => {
    const path = join(store, name)
    const words = [join(store, 'lock'), process.execPath, main, store, name].map(word => `'${word}'`)
    // One at a time, as the kernel's own lock has it.
    const cache = `NODE_COMPILE_CACHE='${join(store, 'cache')}'`
    writeFileSync(path, `#!/bin/sh\n${cache} exec flock ${words.join(' ')} "$@"\n`, { mode: 0o755 })
    return path
  }
  return { zfs: install('zfs'), mount: install('mount') }
}
