import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { copyFile, mkdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { constants, createGzip, createZstdCompress } from 'node:zlib'
import { seeded } from '#test/support/seeded.ts'
import { measured, writeImage } from './registry-image.ts'

const execute = promisify(execFile)
const project = join(import.meta.dirname, '../..')
const TAR_FLAGS = ['--numeric-owner', '--sort=name', '--format=pax', '--pax-option=delete=atime,delete=ctime']
const PACKAGES = 800
const FILES_A_PACKAGE = 50
const GIBIBYTE = 1024 ** 3
const PART_BYTES = 16 * 1024 ** 2

export const COMPRESSIONS = ['gzip', 'zstd'] as const
export type Compression = (typeof COMPRESSIONS)[number]

/** An image of the benchmark: its layers as tars, bottom first, and what runs in it. */
export interface SampleImage {
  name: string
  tars: string[]
}

/**
 * A Debian made by debootstrap; the same with Node and a node_modules of 40,000 files; a busybox with a gibibyte of data in
 * one layer. The files' contents are made of words, so that they compress about as programs' sources do.
 */
export async function makeSamples(folder: string): Promise<SampleImage[]> {
  const debian = await debianTar(folder)
  const node = await nodeTar(folder)
  return [
    { name: 'debian', tars: [debian] },
    { name: 'node', tars: [debian, node] },
    { name: 'gibibyte', tars: [await largeTar(folder)] },
  ]
}

/** Writes it in skopeo's `dir:` form, each layer compressed. */
export async function compressImage(folder: string, sample: SampleImage, compression: Compression): Promise<void> {
  await mkdir(folder, { recursive: true })
  const layers: { descriptor: object; diffId: string }[] = []
  for (const tar of sample.tars) layers.push(await compressLayer(folder, tar, compression))
  await writeImage(
    folder,
    layers.map(({ descriptor }) => descriptor),
    layers.map(({ diffId }) => diffId),
  )
}

async function compressLayer(folder: string, tar: string, compression: Compression) {
  const plain = measured()
  const zipped = measured()
  const part = join(folder, 'part')
  const level = { params: { [constants.ZSTD_c_compressionLevel]: 3 } }
  const zip = compression === 'gzip' ? createGzip({ level: 6 }) : createZstdCompress(level)
  await pipeline(createReadStream(tar), plain.pass, zip, zipped.pass, createWriteStream(part))
  await rename(part, join(folder, zipped.hex()))
  const mediaType = `application/vnd.oci.image.layer.v1.tar+${compression}`
  const descriptor = { mediaType, digest: `sha256:${zipped.hex()}`, size: zipped.size() }
  return { descriptor, diffId: `sha256:${plain.hex()}` }
}

export async function debianTar(folder: string): Promise<string> {
  const cached = join(project, '.tools/cache/debian-12.tar.gz')
  const script = join(project, 'infra/local/debian-base.sh')
  await execute('sh', [script, cached], { maxBuffer: 64 * 1024 ** 2 })
  const tar = join(folder, 'debian.tar')
  await execute('sh', ['-c', `gzip -dc "${cached}" > "${tar}"`])
  return tar
}

export async function nodeTar(folder: string): Promise<string> {
  const tree = join(folder, 'node')
  await mkdir(join(tree, 'usr/local/bin'), { recursive: true })
  await copyFile(process.execPath, join(tree, 'usr/local/bin/node'))
  const random = seeded(1)
  for (let at = 0; at < PACKAGES; at++) {
    const lib = join(tree, 'srv/app/node_modules', `package-${at}`, 'lib')
    await mkdir(lib, { recursive: true })
    for (let file = 0; file < FILES_A_PACKAGE; file++) {
      await writeFile(join(lib, `module-${file}.js`), words(random, 200 + random() ** 3 * 16_000))
    }
  }
  return packed(folder, 'node')
}

async function largeTar(folder: string): Promise<string> {
  const tree = join(folder, 'gibibyte')
  await mkdir(join(tree, 'data'), { recursive: true })
  const busybox = join(folder, 'busybox.tar.gz')
  await execute('sh', [join(project, 'infra/local/busybox-base.sh'), busybox])
  await execute('tar', ['-xzpf', busybox, '-C', tree])
  const random = seeded(2)
  const block = words(random, PART_BYTES)
  for (let at = 0; at < GIBIBYTE / PART_BYTES; at++) {
    // Beginning with another word, so that no two files are alike.
    await writeFile(join(tree, 'data', `part-${at}`), `${at} ${block}`.slice(0, PART_BYTES))
  }
  return packed(folder, 'gibibyte')
}

async function packed(folder: string, name: string): Promise<string> {
  const tar = join(folder, `${name}.tar`)
  await execute('tar', [...TAR_FLAGS, '-cf', tar, '-C', join(folder, name), '.'])
  await rm(join(folder, name), { recursive: true })
  return tar
}

const VOCABULARY = Array.from({ length: 20_000 }, (_, rank) =>
  createHash('sha256')
    .update(String(rank))
    .digest('base64')
    .slice(0, 3 + (rank % 9)),
)

/** Some words are frequent and most are rare, as in sources: gzip makes a quarter to a third of it. */
function words(random: () => number, bytes: number): string {
  const pieces: string[] = []
  for (let size = 0; size < bytes; ) {
    const word = VOCABULARY[Math.floor(random() ** 3 * VOCABULARY.length)] ?? ''
    pieces.push(word)
    size += word.length + 1
  }
  return pieces.join(' ').slice(0, bytes)
}
