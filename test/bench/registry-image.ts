import { createHash, randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { ociArchitecture } from '#shared/domain/host.ts'

const CHUNK_BYTES = 1024 * 1024

/**
 * An image of random layers that no registry has seen, in the form of skopeo's `dir:` transport: `manifest.json`,
 * `version` and a file a blob, named by its hex digest.
 */
export async function makeImage(folder: string, layers: number, layerBytes: number): Promise<void> {
  await mkdir(folder, { recursive: true })
  const descriptors: object[] = []
  for (let at = 0; at < layers; at++) descriptors.push(await makeLayer(folder, layerBytes))
  await writeImage(folder, descriptors, [])
}

/** Configuration and manifest of layers whose blobs are in the folder. Every one is another image. */
export async function writeImage(folder: string, layers: object[], diffIds: string[]): Promise<void> {
  const config = JSON.stringify({
    ...{ architecture: ociArchitecture(process.arch), os: 'linux', created: new Date(0).toISOString() },
    ...{ config: { Env: ['PATH=/usr/local/bin:/usr/bin:/bin'] }, rootfs: { type: 'layers', diff_ids: diffIds } },
    mark: crypto.randomUUID(),
  })
  const configHex = createHash('sha256').update(config).digest('hex')
  await writeFile(join(folder, configHex), config)
  const manifest = {
    ...{ schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json' },
    config: {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: `sha256:${configHex}`,
      size: config.length,
    },
    layers,
  }
  await writeFile(join(folder, 'manifest.json'), JSON.stringify(manifest))
  await writeFile(join(folder, 'version'), 'Directory Transport Version: 1.1\n')
}

/** Bytes on their way, hashed and counted. */
export function measured() {
  const hash = createHash('sha256')
  let size = 0
  let hex = ''
  const pass = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      hash.update(chunk)
      size += chunk.length
      yield chunk
    }
    hex = hash.digest('hex')
  }
  return { pass, size: () => size, hex: () => hex }
}

async function makeLayer(folder: string, size: number): Promise<object> {
  const hash = createHash('sha256')
  const part = join(folder, 'part')
  const block = randomBytes(Math.min(CHUNK_BYTES, size))
  const bytes = function* () {
    for (let left = size; left > 0; left -= block.length) {
      block.writeUInt32LE(left % 2 ** 32, 0) // One block's randomness, and yet no two alike.
      const piece = Buffer.from(block.subarray(0, Math.min(left, block.length)))
      hash.update(piece)
      yield piece
    }
  }
  await pipeline(bytes, createWriteStream(part))
  const hex = hash.digest('hex')
  await rename(part, join(folder, hex))
  return { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest: `sha256:${hex}`, size }
}
