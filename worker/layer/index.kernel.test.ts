import { execFileSync, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { createGunzip } from 'node:zlib'
import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { item, listing, owned, plant } from '#test/support/random-tree.ts'
import { unmount } from '../host/mount.ts'
import { mountErofs } from '../host/mount-erofs.ts'
import { indexLayer } from './index-layer.ts'
import { packLayer } from './pack.ts'
import { encodeHeader, paddingOf, TAR_END } from './tar-writer.ts'
import { unpackLayer } from './unpack.ts'

/** What an index shows is what GNU tar unpacks, and what this program's own unpacking makes of whiteouts. */

let folder: string
beforeAll(() => {
  folder = mkdtempSync('/var/tmp/slipway-index-')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let own: string
const at = (name: string) => join(own, name)
function begin(): void {
  own = mkdtempSync(join(folder, 'x-'))
  for (const name of ['before', 'truth', 'shown']) mkdirSync(at(name))
}
async function end(): Promise<void> {
  await unmount(at('shown'))
  rmSync(own, { recursive: true, force: true })
}
beforeEach(begin)
afterEach(end)

const paths = (name: string) => ({ tar: at(`${name}.tar`), index: at(`${name}.erofs`) })

/** Mounts the index of a tar at `shown`. */
async function show(tar: string, zipped = false): Promise<void> {
  const stream = createReadStream(tar)
  await indexLayer(zipped ? stream.pipe(createGunzip()) : stream, paths('layer'))
  mountErofs({ ...paths('layer'), target: at('shown') }, 'file')
}

async function shown(tar: string, zipped = false): Promise<string[]> {
  await show(tar, zipped)
  return listing(at('shown'))
}

const XATTRS = ['--xattrs', '--xattrs-include=*']
const pack = (...options: string[]) => spawnSync('tar', ['-C', at('before'), ...options, '-cf', at('a.tar'), '.'])
const unpack = () =>
  execFileSync('tar', ['-C', at('truth'), '-p', ...XATTRS, '--numeric-owner', '-xf', at('a.tar')], { stdio: 'ignore' })

const settings = { numRuns: 100 }

test('every file of a tar of GNU tar is as GNU tar unpacks it', async () => {
  // GNU tar cannot keep such a file as what it is to overlay, and writes % of an attribute's name in its own way.
  const items = fc.array(
    item.filter(
      ({ kind, xattrs }) =>
        kind !== 'whiteout' && kind !== 'opaque' && Object.keys(xattrs).every(name => !name.includes('%')),
    ),
    { maxLength: 40 },
  )
  await fc.assert(
    fc.asyncProperty(items, fc.record(owned), async (wanted, root) => {
      await end()
      begin()
      plant(at('before'), wanted, { ...root, xattrs: {} })
      pack('--format=pax', ...XATTRS)
      unpack()
      expect(await shown(at('a.tar'))).toEqual(listing(at('truth')))
    }),
    settings,
  )
}, 300_000)

test('whiteouts and all else are as unpacking makes them', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(item, { maxLength: 25 }), fc.record(owned), async (wanted, root) => {
      await end()
      begin()
      plant(at('before'), wanted, root)
      await packLayer(at('before'), { path: at('a.tar.gz') })
      await unpackLayer(createReadStream(at('a.tar.gz')).pipe(createGunzip()), at('truth'))
      expect(await shown(at('a.tar.gz'), true)).toEqual(listing(at('truth')))
    }),
    settings,
  )
}, 300_000)

const FORMATS = ['--format=ustar', '--format=v7', '--format=gnu', '--format=pax']
const SPARSE = [
  '--sparse --format=gnu',
  ...['0.0', '0.1', '1.0'].map(v => `--sparse --format=pax --sparse-version=${v}`),
]

test.each([...FORMATS, ...SPARSE])('files, links and holes by tar %s', async options => {
  const script = `
    set -e
    umask 022
    mkdir -p deep/er/yet set/uid
    head -c 1000 /dev/urandom > deep/er/yet/random; : > deep/empty; head -c 512 /dev/zero > deep/block
    ln deep/block deep/er/again; ln -s ../../nowhere deep/er/link; ln -s "$(printf 'x%.0s' $(seq 90))" long
    cp /bin/true set/uid/true; chmod 6755 set/uid/true; chmod 1777 set; mkfifo deep/fifo
    truncate -s 3000000 void
    printf x | dd of=holes bs=1 seek=3000000 conv=notrunc status=none
    printf y | dd of=holes bs=1 seek=70001 conv=notrunc status=none
    printf middle | dd of=middle bs=1 seek=1048576 conv=notrunc status=none; truncate -s 5M middle
    for n in $(seq 40); do printf $n | dd of=many bs=1 seek=$((n * 70000)) conv=notrunc status=none; done`
  execFileSync('bash', ['-c', script], { cwd: at('before') })
  pack(...options.split(' '))
  unpack()
  expect(await shown(at('a.tar'))).toEqual(listing(at('truth')))
})

test('a file of more than 4 GiB has its bytes where they belong', async () => {
  const file = at('before/large')
  writeFileSync(file, 'first')
  truncateSync(file, LARGE)
  appendFileSync(file, 'last')
  pack('--sparse', '--format=pax')
  await show(at('a.tar'))
  using opened = new DisposableStack()
  const fd = openSync(at('shown/large'), 'r')
  opened.defer(() => closeSync(fd))
  const read = (position: number, length: number) => {
    const bytes = Buffer.alloc(length)
    return bytes.toString('latin1', 0, readSync(fd, bytes, 0, length, position))
  }
  expect(statSync(at('shown/large')).size).toBe(LARGE + 4)
  expect([read(0, 6), read(LARGE - 1, 9)]).toEqual(['first\0', '\0last'])
})
const LARGE = 5 * 1024 ** 3 + 300

/** As old GNU tar wrote holes: up to four stretches, one behind the other in the archive. */
function sparseEntry(path: string, extents: { gap: number; bytes: Buffer }[], after: number): Buffer {
  const body = Buffer.concat(extents.map(({ bytes }) => bytes))
  const owner = { mode: 0o644, uid: 0, gid: 0, linkTarget: '', major: 0, minor: 0 }
  const rest = { size: body.length, mtime: { seconds: 1, nanoseconds: 0 }, xattrs: new Map() }
  const header = encodeHeader({ type: 'file', path, ...owner, ...rest })
  const write = (value: number, start: number) => header.write(value.toString(8).padStart(11, '0'), start, 'latin1')
  header.write('S', 156)
  header.write('ustar  \0', 257, 'latin1')
  header.fill(0, 345)
  let end = 0
  extents.forEach(({ gap, bytes }, index) => {
    write(end + gap, 386 + 24 * index)
    write(bytes.length, 398 + 24 * index)
    end += gap + bytes.length
  })
  write(end + after, 483)
  header.fill(0x20, 148, 156)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return Buffer.concat([header, body, paddingOf(body.length)])
}

const length = fc.oneof(
  fc.nat(3000),
  fc.nat(50).map(n => n * 512),
  fc.nat(20).map(n => n * 4096),
  fc.nat(2_000_000),
)
const extent = fc.record({ gap: length, bytes: length.map(size => Buffer.alloc(size, 'ab'.repeat(7) + size)) })
const sparse = fc.record({ extents: fc.array(extent, { maxLength: 4 }), after: length })

test('holes anywhere are as unpacking makes them', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(sparse, { minLength: 1, maxLength: 4 }), async files => {
      await end()
      begin()
      const entries = files.map(({ extents, after }, index) => sparseEntry(`f${index}`, extents, after))
      writeFileSync(at('a.tar'), Buffer.concat([...entries, TAR_END]))
      await unpackLayer(createReadStream(at('a.tar')), at('truth'))
      expect(await shown(at('a.tar'))).toEqual(listing(at('truth')))
    }),
    settings,
  )
}, 300_000)

test('the same tar gives the same bytes', async () => {
  execFileSync('tar', ['-C', '/usr/share', '-cf', at('a.tar'), 'zoneinfo'])
  for (const name of ['one', 'two']) await indexLayer(createReadStream(at('a.tar')), paths(name))
  expect(readFileSync(paths('one').index).equals(readFileSync(paths('two').index))).toBe(true)
  expect(readFileSync(paths('one').tar).equals(readFileSync(at('a.tar')))).toBe(true)
})

/** As infra/local/erofs-utils.sh puts it there; Debian 12's own does not read blocks of 512 bytes. */
const FSCK = join(import.meta.dirname, '../../.tools/erofs-utils/fsck.erofs')

test('fsck.erofs finds no error in images of all kinds', async context => {
  if (!existsSync(FSCK)) {
    console.warn(
      `${FSCK} is missing: run infra/local/erofs-utils.sh, which needs Debian's mirrors. Images go unchecked.`,
    )
    context.skip()
  }
  await fc.assert(
    fc.asyncProperty(fc.array(item, { maxLength: 60 }), fc.array(sparse, { maxLength: 3 }), async (wanted, files) => {
      await end()
      begin()
      const inTars = wanted.filter(({ kind }) => kind !== 'whiteout') // The device 0:0 is refused.
      plant(at('before'), inTars, { mode: 0o755, uid: 0, gid: 0, seconds: 1, nanoseconds: 1, xattrs: {} })
      for (const n of Array.from({ length: wanted.length * 20 }).keys()) writeFileSync(at(`before/many-${n}`), `${n}`)
      pack('--format=pax', ...XATTRS)
      const entries = files.map(({ extents, after }, index) => sparseEntry(`f${index}`, extents, after))
      const whole = readFileSync(at('a.tar'))
      // In front: the zeros that end a tar end it.
      writeFileSync(at('a.tar'), Buffer.concat([...entries, whole]))
      await indexLayer(createReadStream(at('a.tar')), paths('layer'))
      const { tar, index } = paths('layer')
      const { status, stderr } = spawnSync(FSCK, ['-d3', '--extract', `--device=${tar}`, index], { encoding: 'utf8' })
      expect([status, stderr]).toEqual([0, expect.stringContaining('No errors found')])
    }),
    { numRuns: 30 },
  )
}, 120_000)
