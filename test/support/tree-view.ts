import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { lgetxattr, llistxattr } from '#worker/host/syscalls.ts'
import { isKeptXattr } from '#worker/layer/kept-xattrs.ts'

/** All that can be seen of what is in a folder, a line an entry. */
export function viewOf(root: string): string {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort()
  const inodes = new Map<bigint, string>()
  return names
    .map(name => {
      const at = join(root, name)
      const stat = lstatSync(at, { bigint: true, throwIfNoEntry: false })
      if (!stat) return `/${name} hidden` // Overlay lists the whiteouts of a folder that only one layer has.
      if (!inodes.has(stat.ino)) inodes.set(stat.ino, name)
      const same = stat.isDirectory() ? '' : inodes.get(stat.ino)
      const text = stat.isFile() ? readFileSync(at, 'utf8') : stat.isSymbolicLink() ? readlinkSync(at) : ''
      const attributes = llistxattr(at)
        .filter(isKeptXattr)
        .sort()
        .map(key => `${key}=${lgetxattr(at, key)?.toString('hex')}`)
      const kind = stat.isFile() ? `file ${stat.size}` : 'other'
      return [`/${name} ${kind}`, stat.mode, stat.uid, stat.gid, stat.mtimeNs, same, text, ...attributes].join(' ')
    })
    .join('\n')
}
