import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { lgetxattr, llistxattr } from '#worker/host/syscalls.ts'

/** Everything that a layer keeps of a folder tree, by path: for comparing trees in tests. */
export interface TreeFacts {
  [path: string]: string
}

export interface FactOptions {
  /** Left out of the comparison: times of folders that no archive named, for example. */
  without?: ('time' | 'owner' | 'xattrs')[]
}

/** Names in Latin-1, so that any bytes compare. Hard links are shown by the first name of their file. */
export function treeFacts(root: string, { without = [] }: FactOptions = {}): TreeFacts {
  const facts: TreeFacts = {}
  const firstNames = new Map<bigint, string>()
  const visit = (at: Buffer, path: string) => {
    const stat = lstatSync(at, { bigint: true })
    const parts = [`${(stat.mode & 0o170000n).toString(8)} ${(stat.mode & 0o7777n).toString(8)}`]
    if (!without.includes('owner')) parts.push(`${stat.uid}:${stat.gid}`)
    if (!without.includes('time')) parts.push(`${stat.mtimeNs}`)
    if (stat.isFile()) parts.push(`${stat.size} ${createHash('sha1').update(readFileSync(at)).digest('hex')}`)
    if (stat.isSymbolicLink()) parts.push(`-> ${readlinkSync(at, 'latin1')}`)
    if (stat.isCharacterDevice() || stat.isBlockDevice()) parts.push(`device ${stat.rdev}`)
    if (!stat.isDirectory() && stat.nlink > 1n) {
      const first = firstNames.get(stat.ino)
      firstNames.set(stat.ino, first ?? path)
      if (first !== undefined) parts.push(`= ${first}`)
    }
    if (!without.includes('xattrs')) {
      for (const name of llistxattr(at).sort()) parts.push(`${name}=${lgetxattr(at, name)?.toString('hex')}`)
    }
    facts[path] = parts.join(' ')
    if (!stat.isDirectory()) return
    for (const name of readdirSync(at, 'latin1').sort()) {
      visit(Buffer.concat([at, Buffer.from(`/${name}`, 'latin1')]), path === '' ? name : `${path}/${name}`)
    }
  }
  visit(Buffer.from(root), '')
  return facts
}
