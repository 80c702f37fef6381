import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import { unmountBelow } from '#worker/host/mount.ts'
import { erofsOverlay, probeErofs } from '#worker/snapshot/erofs-overlay.ts'
import {
  type OverlaySnapshotter,
  openOverlaySnapshotter,
  UNPACKED_OVERLAY,
} from '#worker/snapshot/overlay-snapshotter.ts'
import { makeSamples, type SampleImage } from './layers-images.ts'
import { interleave, table } from './measure.ts'

const execute = promisify(execFile)
const ROUNDS = Number(process.env.ROUNDS ?? 7)
/** Every byte of every file, in the order of the folders, as programs that start read theirs. */
const READ_ALL = 'find . -xdev -type f -print0 | xargs -0 cat > /dev/null'

/** Reading all files of an image: layers that are mounted against layers that are unpacked, cold and warm. */
export async function readsBench(): Promise<void> {
  await using undo = new AsyncDisposableStack()
  const folder = await mkdtemp('/var/tmp/slipway-bench-reads-')
  undo.defer(() => rm(folder, { recursive: true, force: true }))
  undo.defer(() => unmountBelow(folder))
  const backing = await probeErofs(join(folder, 'erofs'))
  if (!backing) throw new Error('This kernel cannot mount layers: there is nothing to compare.')
  const drivers = [
    await openOverlaySnapshotter(join(folder, 'unpacked'), undefined, UNPACKED_OVERLAY),
    await openOverlaySnapshotter(join(folder, 'erofs'), undefined, erofsOverlay(backing)),
  ]
  for (const sample of await makeSamples(folder)) {
    const roots: [string, string][] = []
    for (const driver of drivers) roots.push([driver.name, await prepare(driver, sample)])
    const read = (root: string) => execute('sh', ['-c', READ_ALL], { cwd: root })
    for (const temperature of ['cold', 'warm'] as const) {
      const forget = async () => {
        if (temperature === 'cold') writeFileSync('/proc/sys/vm/drop_caches', '3')
      }
      await execute('sync')
      await forget()
      const contenders = roots.map(([name, root]) => ({
        name: `${name}: all of ${sample.name}, ${temperature}`,
        run: async () => void (await read(root)),
        undo: forget,
      }))
      console.log(`\n${table(await interleave(contenders, ROUNDS), contenders[0]?.name ?? '')}`)
    }
    for (const driver of drivers) await driver.remove(sample.name)
  }
}

async function prepare(driver: OverlaySnapshotter, { name, tars }: SampleImage): Promise<string> {
  const diffIds: Digest[] = []
  for (const tar of tars) {
    const hash = createHash('sha256')
    for await (const chunk of createReadStream(tar)) hash.update(chunk)
    const diffId = digestFromHex(hash.digest('hex'))
    await driver.addLayer(diffId, createReadStream(tar), async () => {})
    diffIds.push(diffId)
  }
  return (await driver.prepare(name, diffIds)).rootfs
}
