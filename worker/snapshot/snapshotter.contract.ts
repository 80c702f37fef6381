import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import type { Snapshotter } from './snapshotter.ts'

interface TestLayer {
  tar: Buffer
  diffId: Digest
}

/** A layer out of files (path → text; a path that ends in a slash is a folder). */
function layerOf(files: Record<string, string>, ...tarOptions: string[]): TestLayer {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-layer-'))
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(join(folder, path, path.endsWith('/') ? '.' : '..'), { recursive: true })
      if (!path.endsWith('/')) writeFileSync(join(folder, path), text)
    }
    const tar = execFileSync('tar', ['-C', folder, '-c', ...tarOptions, '.'])
    return { tar, diffId: digestFromHex(createHash('sha256').update(tar).digest('hex')) }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const good = async () => {}
const stream = (tar: Buffer) => Readable.from([tar], { objectMode: false })

/** What every Snapshotter does. Needs root. `open` opens the same folder again, as another agent would. */
export function describeSnapshotter(name: string, open: (folder: string) => Promise<Snapshotter>): void {
  describe(`snapshotter: ${name}`, () => {
    let folder: string
    let snapshots: Snapshotter
    const base = layerOf({ 'etc/name': 'base', 'etc/gone': 'x', 'opaque/old': 'old', 'kept/': '' })
    const top = layerOf({ 'etc/name': 'top', 'etc/.wh.gone': '', 'opaque/.wh..wh..opq': '', 'opaque/new': 'new' })

    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), 'slipway-snapshots-'))
      snapshots = await open(folder)
      await snapshots.sweep()
      for (const { tar, diffId } of [base, top]) await snapshots.addLayer(diffId, stream(tar), good)
    })
    afterAll(async () => {
      for (const { id } of await snapshots.list()) await snapshots.remove(id)
      expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(folder)
      rmSync(folder, { recursive: true, force: true })
    })

    test('layers lie over each other: files replaced, whiteouts and opaque folders hide what is below', async () => {
      const { rootfs } = await snapshots.prepare('over', [base.diffId, top.diffId])
      expect(readFileSync(join(rootfs, 'etc/name'), 'utf8')).toBe('top')
      expect(readdirSync(join(rootfs, 'etc'))).toEqual(['name'])
      expect(readdirSync(join(rootfs, 'opaque'))).toEqual(['new'])
      expect(existsSync(join(rootfs, 'kept'))).toBe(true)
    })

    test('writes stay in their snapshot, over unmounting and mounting again', async () => {
      const one = await snapshots.prepare('one', [base.diffId])
      const two = await snapshots.prepare('two', [base.diffId])
      writeFileSync(join(one.rootfs, 'etc/name'), 'changed')
      expect(readFileSync(join(two.rootfs, 'etc/name'), 'utf8')).toBe('base')
      await snapshots.unmount('one')
      expect((await snapshots.list()).find(({ id }) => id === 'one')?.isMounted).toBe(false)
      await snapshots.prepare('one', [base.diffId])
      expect(readFileSync(join(one.rootfs, 'etc/name'), 'utf8')).toBe('changed')
    })

    test('preparing twice is preparing once; another list of layers for the same id is refused', async () => {
      const first = await snapshots.prepare('again', [base.diffId])
      expect(await snapshots.prepare('again', [base.diffId])).toEqual(first)
      await expect(snapshots.prepare('again', [top.diffId])).rejects.toThrow()
    })

    test('a layer may come twice, and none at all is an empty root', async () => {
      const { rootfs } = await snapshots.prepare('twice', [base.diffId, top.diffId, base.diffId])
      expect(readFileSync(join(rootfs, 'etc/name'), 'utf8')).toBe('base')
      const empty = await snapshots.prepare('scratch', [])
      expect(readdirSync(empty.rootfs)).toEqual([])
    })

    test('what was written becomes a layer without a copy', async () => {
      const { rootfs, upper } = await snapshots.prepare('grown', [base.diffId])
      writeFileSync(join(rootfs, 'grown'), 'grown')
      const inode = statSync(join(upper, 'grown')).ino
      await snapshots.unmount('grown')
      const diffId = digestFromHex('a'.repeat(64))
      await snapshots.adoptUpper('grown', diffId)
      const next = await snapshots.prepare('next', [base.diffId, diffId])
      expect(readFileSync(join(next.rootfs, 'grown'), 'utf8')).toBe('grown')
      expect(statSync(join(next.rootfs, 'grown')).ino).toBe(inode)
      expect((await snapshots.list()).map(({ id }) => id)).not.toContain('grown')
    })

    test('a layer that is not what it was said to be leaves nothing', async () => {
      const { tar } = layerOf({ file: 'bad' })
      const diffId = digestFromHex('b'.repeat(64))
      const attempt = snapshots.addLayer(diffId, stream(tar), () => Promise.reject(new Error('other bytes')))
      await expect(attempt).rejects.toThrow('other bytes')
      expect(await snapshots.hasLayer(diffId)).toBe(false)
    })

    test.each([
      ['climbs out', ['--transform', 's,^\\./file$,../../escape,']],
      ['is cut off', []],
    ])('a tar that %s is refused and leaves nothing', async (why, options) => {
      const { tar, diffId } = layerOf({ file: 'x'.repeat(5000) }, '-P', ...options)
      const bytes = why === 'is cut off' ? tar.subarray(0, 2000) : tar
      await expect(snapshots.addLayer(diffId, stream(bytes), good)).rejects.toMatchObject({ code: 'layer.invalid' })
      expect(await snapshots.hasLayer(diffId)).toBe(false)
      expect(existsSync(join(folder, '../escape'))).toBe(false)
    })

    test('another agent finds everything: layers, mounted snapshots, and what was written', async () => {
      const { rootfs } = await snapshots.prepare('found', [base.diffId])
      writeFileSync(join(rootfs, 'mine'), 'mine')
      const other = await open(folder)
      await other.sweep()
      expect(await other.layers()).toEqual(expect.arrayContaining([base.diffId, top.diffId]))
      expect(await other.list()).toContainEqual({ id: 'found', rootfs, isMounted: true })
      expect(readFileSync(join((await other.prepare('found', [base.diffId])).rootfs, 'mine'), 'utf8')).toBe('mine')
    })

    test('removing takes mount and files away, and removing nothing is no error', async () => {
      const { rootfs } = await snapshots.prepare('leaving', [base.diffId])
      await snapshots.remove('leaving')
      await snapshots.remove('leaving')
      expect(existsSync(rootfs)).toBe(false)
      await expect(snapshots.prepare('../escape', [])).rejects.toMatchObject({ code: 'internal' })
    })
  })
}
