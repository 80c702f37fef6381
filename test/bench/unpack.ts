import { execFile } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { decompress } from '#worker/layer/decompress.ts'
import { unpackLayer } from '#worker/layer/unpack.ts'
import { debianTar, nodeTar } from './layers-images.ts'
import { type Contender, interleave, table } from './measure.ts'

const execute = promisify(execFile)
const ROUNDS = Number(process.env.ROUNDS ?? 5)
const READ_BYTES = 1024 * 1024

/**
 * Unpacking a layer, as hosts do that cannot mount them: ours beside GNU tar, out of the page cache, plain and compressed
 * with gzip. Nothing is removed before the end: ext4 searches long for inodes that were not freed just now.
 */
export async function unpackBench(): Promise<void> {
  await using undo = new AsyncDisposableStack()
  const folder = await mkdtemp('/var/tmp/slipway-bench-unpack-')
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  const samples = { debian: await debianTar(folder), 'node_modules of 40,000 files': await nodeTar(folder) }
  for (const [name, tar] of Object.entries(samples)) {
    await execute('gzip', ['-k', tar])
    console.log(`\n${name}`)
    console.log(table(await interleave(contenders(folder, tar), ROUNDS), 'tar -x'))
    console.log(table(await interleave(contenders(folder, tar, 'gzip'), ROUNDS), 'tar -xz'))
  }
}

function contenders(folder: string, tar: string, compression?: 'gzip'): Contender[] {
  const into = async (who: string, round: number) => {
    const target = join(folder, [who, compression, tar.split('/').at(-1), round].join('-'))
    await mkdir(target)
    return target
  }
  const path = compression ? `${tar}.gz` : tar
  const settle = async () => void (await execute('sync'))
  return [
    {
      name: 'slipway',
      run: async round => {
        const bytes = createReadStream(path, { highWaterMark: READ_BYTES })
        await unpackLayer(compression ? decompress(compression, bytes) : bytes, await into('own', round))
      },
      undo: settle,
    },
    {
      name: compression ? 'tar -xz' : 'tar -x',
      run: async round => {
        const flags = compression ? '-xpzf' : '-xpf'
        await execute('tar', ['--numeric-owner', '--xattrs', flags, path, '-C', await into('tar', round)])
      },
      undo: settle,
    },
  ]
}
