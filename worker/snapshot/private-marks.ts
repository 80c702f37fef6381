import { type Dirent, lstatSync, readdirSync, unlinkSync } from 'node:fs'
import { setImmediate } from 'node:timers/promises'
import { llistxattr, lremovexattr } from '#worker/host/syscalls.ts'
import { setTimeLike } from './place-node.ts'

const PREFIX = 'trusted.overlay.'
const OPAQUE = 'trusted.overlay.opaque'
const FILES_AT_ONCE = 2000

/**
 * Removes what overlay noted about a writable layer for its own use while it was mounted (`origin`, `impure`, `nlink`
 * and the like): below other layers, or beside other ones, the notes would be wrong. Opaque folders stay opaque.
 */
export async function removePrivateMarks(upper: string): Promise<void> {
  clean(Buffer.from(upper))
  await eachBelow(upper, clean)
}

/** What fuse-overlayfs puts into an opaque folder beside its attribute. */
const MARK_FILES = new Set(['.wh..wh..opq', '.wh..opq'])

/** Removes the files by which fuse-overlayfs says a second time that a folder is opaque. */
export async function removeMarkFiles(upper: string): Promise<void> {
  await eachBelow(upper, (path, name) => {
    if (!MARK_FILES.has(name)) return
    const folder = path.subarray(0, path.lastIndexOf('/'))
    const stat = lstatSync(folder, { bigint: true })
    unlinkSync(path)
    setTimeLike(stat, folder)
  })
}

async function eachBelow(upper: string, visit: (path: Buffer, name: string) => void): Promise<void> {
  const folders = [Buffer.from(upper)]
  let count = 0
  for (let folder = folders.pop(); folder; folder = folders.pop()) {
    for (const entry of readdirSync(folder, { withFileTypes: true, encoding: 'buffer' })) {
      const path = Buffer.concat([folder, Buffer.from('/'), entry.name])
      visit(path, entry.name.toString('latin1'))
      if (isFolder(entry)) folders.push(path)
      if (++count % FILES_AT_ONCE === 0) await setImmediate() // Others want the event loop too.
    }
  }
}

function isFolder(entry: Dirent<Buffer>): boolean {
  return entry.isDirectory()
}

function clean(path: Buffer): void {
  for (const name of llistxattr(path)) {
    if (name.startsWith(PREFIX) && name !== OPAQUE) lremovexattr(path, name)
  }
}
