import { createHash } from 'node:crypto'
import {
  type BigIntStats,
  chmodSync,
  lchownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import fc from 'fast-check'
import { lgetxattr, llistxattr, lsetxattr, mknod, S_IFBLK, S_IFCHR, S_IFIFO, setTimes } from '#worker/host/syscalls.ts'
import { OPAQUE } from '#worker/layer/tree-writer.ts'

/** Trees of files of every kind that a layer can have, and all there is to know of one. */

const KINDS = ['folder', 'opaque', 'file', 'symlink', 'hardlink', 'fifo', 'character', 'block', 'whiteout'] as const
const bytes = (minLength: number, maxLength: number) =>
  fc.uint8Array({ minLength, maxLength }).map(array => Buffer.from(array).toString('latin1'))
const name = fc
  .oneof(bytes(1, 20), fc.constantFrom('a', 'b', '.wh', 'x'.repeat(255), 'é'.repeat(101)))
  .filter(text => !/[/\0]|^\.\.?$|^\.wh\./.test(text))
const id = fc.oneof(fc.nat(65_534), fc.integer({ min: 2_097_152, max: 4_000_000_000 }))
export const owned = {
  mode: fc.nat(0o7777),
  uid: id,
  gid: id,
  seconds: fc.integer({ min: -2_000_000_000, max: 8_000_000_000 }),
  nanoseconds: fc.nat(999_999_999),
  xattrs: fc.dictionary(
    fc
      .oneof(bytes(1, 8), fc.constantFrom('=', 'a=b', '100%', '%25', '%3D', '%253D'))
      .filter(text => !text.includes('\0')),
    bytes(0, 40),
    { maxKeys: 2 },
  ),
}
export const item = fc.record({
  kind: fc.constantFrom(...KINDS),
  name,
  parent: fc.nat(),
  text: bytes(1, 300).filter(text => !text.includes('\0')),
  size: fc.oneof(fc.nat(2000), fc.constantFrom(0, 512, 300_000)),
  ...owned,
})
export type Item = typeof item extends fc.Arbitrary<infer T> ? T : never

const at = (parent: Buffer, child: string) => Buffer.concat([parent, Buffer.from(`/${child}`, 'latin1')])

/** Makes items below a folder; a name that is taken is skipped. Attributes come last, deepest first: making changes times. */
export function plant(root: string, items: Item[], rootItem: Pick<Item, keyof typeof owned>): void {
  const folders = [Buffer.from(root)]
  const files: Buffer[] = []
  const made: [Buffer, Item][] = []
  for (const wanted of items) {
    const path = at(folders[wanted.parent % folders.length] ?? Buffer.from(root), wanted.name)
    if (lstatSync(path, { throwIfNoEntry: false })) continue
    make(path, wanted, files)
    if (wanted.kind === 'folder' || wanted.kind === 'opaque') folders.push(path)
    if (wanted.kind === 'file') files.push(path)
    if (wanted.kind !== 'whiteout' && wanted.kind !== 'hardlink') made.push([path, wanted])
  }
  for (const [path, wanted] of made.reverse()) adorn(path, wanted, wanted.kind)
  adorn(Buffer.from(root), rootItem, 'folder')
}

function make(path: Buffer, { kind, text, size }: Item, files: Buffer[]): void {
  const first = files[size % Math.max(files.length, 1)]
  if (kind === 'folder' || kind === 'opaque') mkdirSync(path)
  else if (kind === 'symlink') symlinkSync(Buffer.from(text, 'latin1'), path)
  else if (kind === 'hardlink' && first) linkSync(first, path)
  else if (kind === 'file' || kind === 'hardlink') writeFileSync(path, Buffer.alloc(size, text, 'latin1'))
  else if (kind === 'whiteout') mknod(path, S_IFCHR, 0, 0)
  else mknod(path, kind === 'fifo' ? S_IFIFO : kind === 'block' ? S_IFBLK : S_IFCHR, 300, size)
}

function adorn(path: Buffer, wanted: Pick<Item, keyof typeof owned>, kind: Item['kind']): void {
  lchownSync(path, wanted.uid, wanted.gid)
  if (kind === 'opaque') lsetxattr(path, OPAQUE, Buffer.from('y'))
  if (['folder', 'opaque', 'file'].includes(kind)) {
    for (const [key, value] of Object.entries(wanted.xattrs)) {
      lsetxattr(path, Buffer.from(`user.${key}`, 'latin1'), Buffer.from(value, 'latin1'))
    }
  }
  if (kind !== 'symlink') chmodSync(path, wanted.mode)
  setTimes(path, wanted.seconds, wanted.nanoseconds)
}

/** All there is to know of a tree, a line each; the root's time is no part of a layer that leaves the root alone. */
export function listing(root: string): string[] {
  const firsts = new Map<bigint, string>()
  const visit = (path: Buffer, shown: string): string[] => {
    const stat = lstatSync(path, { bigint: true })
    if (stat.isCharacterDevice() && stat.rdev === 0n) return [`${shown} whiteout`]
    const first = firsts.get(stat.ino) ?? shown
    firsts.set(stat.ino, first)
    const facts = [stat.mode, stat.uid, stat.gid, stat.rdev, shown === '' ? '' : stat.mtimeNs, `as ${first}`]
    const line = [JSON.stringify(shown), ...facts, ...xattrsOf(path), contentOf(path, stat)].join(' ')
    if (!stat.isDirectory()) return [line]
    return [
      line,
      ...readdirSync(path, 'latin1')
        .sort()
        .flatMap(child => visit(at(path, child), `${shown}/${child}`)),
    ]
  }
  return visit(Buffer.from(root), '')
}

function xattrsOf(path: Buffer): string[] {
  const names = llistxattr(path).sort()
  return names.map(key => `${key}=${lgetxattr(path, Buffer.from(key, 'latin1'))?.toString('hex')}`)
}

function contentOf(path: Buffer, stat: BigIntStats): string {
  if (stat.isSymbolicLink()) return readlinkSync(path, 'buffer').toString('hex')
  return stat.isFile() ? `${stat.size} ${createHash('sha256').update(readFileSync(path)).digest('hex')}` : ''
}
