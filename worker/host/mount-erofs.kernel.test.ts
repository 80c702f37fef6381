import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { indexLayer } from '../layer/index-layer.ts'
import { encodeHeader, paddingOf, TAR_END } from '../layer/tar-writer.ts'
import { attachLoop } from './loop-device.ts'
import { unmount } from './mount.ts'
import { mountErofs } from './mount-erofs.ts'

/** Long, so that the paths in it do not fit an option of the kernel as they are. */
let folder: string
beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/slipway-erofs-mount-')
  const place = join(folder, 'x'.repeat(200), 'y'.repeat(200))
  mkdirSync(join(place, 'target'), { recursive: true })
  await indexLayer(tarOf('hello', 'world'), pathsIn(place))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const pathsIn = (place: string) => ({ index: join(place, 'index'), tar: join(place, 'tar') })

async function* tarOf(path: string, text: string) {
  const owner = { type: 'file', mode: 0o644, uid: 0, gid: 0, linkTarget: '', major: 0, minor: 0 } as const
  const rest = { size: text.length, mtime: { seconds: 1, nanoseconds: 0 }, xattrs: new Map() }
  yield Buffer.concat([encodeHeader({ ...owner, ...rest, path }), Buffer.from(text), paddingOf(text.length), TAR_END])
}

/** Files of this test that a loop device still shows. */
function attached(): string[] {
  return readdirSync('/sys/block')
    .filter(name => name.startsWith('loop'))
    .flatMap(name => {
      try {
        return [readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8')]
      } catch {
        return [] // It shows nothing.
      }
    })
    .filter(path => path.includes(folder))
}

test.each(['file', 'loop'] as const)('an index and its tar are one filesystem, by %s', async backing => {
  const place = join(folder, 'x'.repeat(200), 'y'.repeat(200))
  const target = join(place, 'target')
  mountErofs({ ...pathsIn(place), target }, backing)
  try {
    expect(readFileSync(join(target, 'hello'), 'utf8')).toBe('world')
    expect(() => rmSync(join(target, 'hello'))).toThrow('Read-only file system')
    expect(attached().length).toBe(backing === 'loop' ? 2 : 0)
  } finally {
    await unmount(target)
  }
  expect(readdirSync(target)).toEqual([])
  await expect.poll(attached).toEqual([])
})

test('what is no image is refused, and no loop device stays', async () => {
  const { tar } = pathsIn(join(folder, 'x'.repeat(200), 'y'.repeat(200)))
  for (const backing of ['file', 'loop'] as const) {
    const attempt = () => mountErofs({ index: tar, tar, target: folder }, backing)
    expect(attempt).toThrow(expect.objectContaining({ code: 'host.kernel-refused' }))
  }
  await expect.poll(attached).toEqual([])
  expect(() => attachLoop(join(folder, 'none'))).toThrow('ENOENT')
})
