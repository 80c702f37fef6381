import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { lsetxattr, mknod, S_IFCHR } from '../host/syscalls.ts'
import { packLayer } from './pack.ts'
import { OPAQUE } from './tree-writer.ts'

let folder: string
let count = 0
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-pack-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function makeFolder(mode = 0o755): string {
  const path = join(folder, String(count++))
  mkdirSync(path)
  chmodSync(path, mode)
  return path
}

async function pack(upper: string, lower: string[]) {
  const path = join(folder, `${count++}.tar.gz`)
  const { isEmpty } = await packLayer(upper, { path, lower })
  return { isEmpty, names: execFileSync('tar', ['-tzf', path], { encoding: 'utf8' }).split('\n').filter(Boolean) }
}

function makeEtc(layer: string, mtime = 1000): string {
  mkdirSync(join(layer, 'etc'))
  utimesSync(join(layer, 'etc'), mtime, mtime)
  return layer
}

test('a change of the root folder alone is a layer, a change back too', async () => {
  expect(await pack(makeFolder(0o711), [makeFolder()])).toEqual({ isEmpty: false, names: ['./'] })
  expect(await pack(makeFolder(), [makeFolder(0o711)])).toEqual({ isEmpty: false, names: ['./'] })
  expect(await pack(makeFolder(0o711), [])).toEqual({ isEmpty: false, names: ['./'] })
  const owned = makeFolder()
  chownSync(owned, 1000, 1000)
  expect(await pack(owned, [makeFolder()])).toEqual({ isEmpty: false, names: ['./'] })
})

test('a root folder that nobody changed is no change; where it is special, each layer says so', async () => {
  expect(await pack(makeFolder(), [makeFolder()])).toEqual({ isEmpty: true, names: [] })
  expect(await pack(makeFolder(), [])).toEqual({ isEmpty: true, names: [] })
  expect(await pack(makeFolder(0o711), [makeFolder(0o711)])).toEqual({ isEmpty: true, names: ['./'] })
})

test('an empty folder that is as the layers below show it is no change', async () => {
  const [plain, base] = [makeFolder(), makeEtc(makeFolder())]
  expect(await pack(makeEtc(makeFolder()), [plain, base])).toEqual({ isEmpty: true, names: [] })
})

test('an empty folder is a change when it is new, not the same, or hides what is below', async () => {
  const isKept = { isEmpty: false, names: expect.arrayContaining(['etc/']) }
  const base = makeEtc(makeFolder())
  expect(await pack(makeEtc(makeFolder()), [makeFolder()])).toEqual(isKept)
  expect(await pack(makeEtc(makeFolder(), 2000), [base])).toEqual(isKept)
  const upper = makeEtc(makeFolder())
  lsetxattr(join(upper, 'etc'), OPAQUE, Buffer.from('y'))
  expect(await pack(upper, [base])).toEqual(isKept)
  const whiteout = makeFolder()
  mknod(join(whiteout, 'etc'), S_IFCHR, 0, 0)
  expect(await pack(makeEtc(makeFolder()), [whiteout, base])).toEqual(isKept)
})

test('the same tar in gzip and in zstd, at any level, each with its digests and the same bytes again', async () => {
  const upper = makeFolder()
  writeFileSync(join(upper, 'text'), 'a line of a file that is worth compressing\n'.repeat(50_000))
  const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  const packed = async (compression: 'gzip' | 'zstd', level?: number) => {
    const path = join(folder, `${count++}.layer`)
    const layer = await packLayer(upper, { path, compression, level })
    const bytes = readFileSync(path)
    const tar = compression === 'gzip' ? gunzipSync(bytes) : zstdDecompressSync(bytes)
    expect(layer).toMatchObject({ compression, digest: sha256(bytes), size: bytes.length, diffId: sha256(tar) })
    expect(layer.unpackedBytes).toBe(tar.length)
    return layer
  }
  const layers = [await packed('gzip'), await packed('zstd'), await packed('zstd', 19), await packed('gzip', 0)]
  expect(new Set(layers.map(({ diffId }) => diffId)).size).toBe(1)
  expect(new Set(layers.map(({ digest }) => digest)).size).toBe(4)
  expect((await packed('zstd')).digest).toBe(layers[1]?.digest)
})

test('a folder may have any number of files', async () => {
  const upper = makeFolder()
  for (let index = 0; index < 150_000; index++) writeFileSync(join(upper, String(index)), '')
  mkdirSync(join(makeFolder(), 'd'))
  const deep = join(folder, String(count - 1))
  execFileSync('mv', [upper, join(deep, 'd/many')])
  expect(await packLayer(deep, { path: join(folder, 'many.tar.gz') })).toMatchObject({ isEmpty: false })
})
