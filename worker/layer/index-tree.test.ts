import { expect, test } from 'vitest'
import { encodeImage } from './erofs-image.ts'
import { folderOf, type IndexNode } from './index-node.ts'
import { IndexTree } from './index-tree.ts'
import { LayerWriter } from './layer-writer.ts'
import type { TarEntry } from './tar-format.ts'
import { OPAQUE } from './tree-writer.ts'

const limits = { maxBytes: 1e12, maxEntries: 1000 }
type Given = Partial<TarEntry> & { path: string }

function entryOf(given: Given): TarEntry {
  const owner = { mode: 0o644, uid: 1, gid: 2, size: 0, linkTarget: '', major: 0, minor: 0 }
  return { type: 'file', ...owner, mtime: { seconds: 7, nanoseconds: 8 }, xattrs: new Map(), ...given }
}

function treeOf(...entries: Given[]): IndexTree {
  const tree = new IndexTree(limits.maxEntries, () => {})
  const writer = new LayerWriter(tree, limits)
  let position = 512
  for (const given of entries) {
    writer.entry(entryOf(given), { position, extents: undefined })
    writer.end()
    position += 1024
  }
  writer.finish()
  return tree
}

function find(tree: IndexTree, path: string): IndexNode | undefined {
  return path.split('/').reduce((at: IndexNode | undefined, name) => at && folderOf(at)?.children.get(name), tree.root)
}

const folder = (path: string, more: Partial<TarEntry> = {}): Given => ({ type: 'folder', path, mode: 0o700, ...more })
const link = (path: string, linkTarget: string): Given => ({ type: 'symlink', path, linkTarget })
const hard = (path: string, linkTarget: string): Given => ({ type: 'hardlink', path, linkTarget })

test('folders that no entry describes are 0755, of root and of 1970; a later entry describes them', () => {
  const tree = treeOf({ path: 'a/b/c' }, folder('a'))
  expect(find(tree, 'a/b')).toMatchObject({ mode: 0o40755, uid: 0, gid: 0, seconds: 0 })
  expect(find(tree, 'a')).toMatchObject({ mode: 0o40700, uid: 1, gid: 2, seconds: 7, nanoseconds: 8 })
  expect(find(tree, 'a/b/c')).toMatchObject({ mode: 0o100644, content: 512 })
})

test('later entries take the place of earlier ones; a folder that comes again keeps what is in it', () => {
  const tree = treeOf(
    { path: 'a/b' },
    { path: 'x' },
    folder('a', { mode: 0o711 }),
    folder('x'),
    { path: 'y/z' },
    { path: 'y' },
  )
  expect(find(tree, 'a')?.mode).toBe(0o40711)
  expect(find(tree, 'a/b')).toBeDefined()
  expect(find(tree, 'x')?.mode).toBe(0o40700)
  expect(find(tree, 'y')?.mode).toBe(0o100644)
})

test('hard links are one file, which counts its names, also those that were replaced', () => {
  const tree = treeOf({ path: 'a' }, hard('b', 'a'), hard('d/c', 'b'), { path: 'a' }, { path: 'd' })
  expect(find(tree, 'b')?.nlink).toBe(1)
  expect(find(tree, 'a')).not.toBe(find(tree, 'b'))
  const both = treeOf({ path: 'a' }, hard('b', './a'))
  expect(find(both, 'a')).toBe(find(both, 'b'))
  expect(find(both, 'a')?.nlink).toBe(2)
})

test('names lead through links of the layer as if it were the root', () => {
  const tree = treeOf(folder('usr/lib'), link('lib', 'usr/lib'), { path: 'lib/a' }, link('up', '/../../usr/bin'), {
    path: 'up/b',
  })
  expect(find(tree, 'usr/lib/a')).toBeDefined()
  expect(find(tree, 'usr/bin/b')).toBeDefined()
})

test('whiteouts are what overlay has for them', () => {
  const tree = treeOf({ path: 'a/.wh.gone' }, { path: 'b/.wh..wh..opq' }, { path: '.wh.c' }, folder('c'), {
    path: '.wh..wh.plnk',
  })
  expect(find(tree, 'a/gone')).toMatchObject({ mode: 0o20000, content: 0 })
  expect(find(tree, 'b')?.xattrs?.values.get(OPAQUE)).toBe('y')
  expect(find(tree, 'c')?.xattrs?.values.get(OPAQUE)).toBe('y')
})

test("overlay's own attributes and the host's are left out", () => {
  const xattrs = new Map([OPAQUE, 'security.selinux', 'user.mine', 'trusted.mine'].map(name => [name, 'v']))
  expect([...(find(treeOf({ path: 'a', xattrs }), 'a')?.xattrs?.values ?? [])]).toEqual([['user.mine', 'v']])
})

test.each<[string, Given[]]>([
  ['a name below a file', [{ path: 'a' }, { path: 'a/b' }]],
  ['a link round in a circle', [link('a', 'b'), link('b', 'a'), { path: 'a/c' }]],
  ['a name upwards', [{ path: 'a/../../b' }]],
  ['a hard link to nothing', [hard('a', 'b')]],
  ['a hard link to itself', [{ path: 'a' }, hard('a', 'a')]],
  ['a hard link to a folder', [folder('a'), hard('b', 'a')]],
  ['a hard link in place of the folder that it leads into', [{ path: 'a/b' }, hard('a', 'a/b')]],
  ['a link to no name', [link('a', '')]],
  ['a link to a zero byte', [link('a', 'b\0c')]],
  ['a file in place of the root', [{ path: '.' }]],
  ['an attribute that is too large', [{ path: 'a', xattrs: new Map([['user.a', 'x'.repeat(65_536)]]) }]],
  ['an attribute of a link', [{ ...link('a', 'b'), xattrs: new Map([['user.a', 'x']]) }]],
  ['more names than entries may bring', [{ path: Array.from({ length: 1001 }, () => 'd').join('/') }]],
])('%s is refused', (_, entries) => {
  expect(() => treeOf(...entries)).toThrow(expect.objectContaining({ code: 'layer.invalid' }))
})

test('the same entries give the same image, in another order one of the same size', () => {
  const names = Array.from({ length: 300 }, (_, index) => ({ path: `folder/file-${index}` }))
  const image = (given: Given[]) => {
    const { root, firstFreeBlock } = treeOf(...given)
    return encodeImage({ root, tarBytes: 1e6, firstBlock: firstFreeBlock })
  }
  const [one, two] = [image(names), image(names)]
  expect(one.metadata.equals(two.metadata)).toBe(true)
  expect(one.head.equals(two.head)).toBe(true)
  expect(image(names.toReversed()).metadata.length).toBe(one.metadata.length)
})
