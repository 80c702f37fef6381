import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { buffer } from 'node:stream/consumers'
import { pack } from 'tar-stream'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import { mknod, S_IFCHR } from '#worker/host/syscalls.ts'

export interface TestLayer {
  tar: Buffer
  diffId: Digest
}

/** A layer out of files (path → text; a path that ends in a slash is a folder). */
export function layerOf(files: Record<string, string>, ...tarOptions: string[]): TestLayer {
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

/** Of files alone: their folders are only implied. Without a process. */
export async function smallLayer(files: Record<string, string>): Promise<TestLayer> {
  const packing = pack()
  for (const [name, text] of Object.entries(files)) packing.entry({ name }, text)
  packing.finalize()
  const tar = await buffer(packing)
  return { tar, diffId: digestFromHex(createHash('sha256').update(tar).digest('hex')) }
}

/** Left out: a node that reads as many zeros as one likes. */
export function layerWithDevice(major = 1, minor = 5): TestLayer {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-layer-'))
  try {
    mknod(join(folder, 'zero'), S_IFCHR | 0o666, major, minor)
    const tar = execFileSync('tar', ['-C', folder, '-c', '.'])
    return { tar, diffId: digestFromHex(createHash('sha256').update(tar).digest('hex')) }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

export const good = async () => {}
export const stream = (tar: Buffer) => Readable.from([tar], { objectMode: false })
