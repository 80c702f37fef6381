import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Digest, digestFromHex } from '#shared/digest.ts'
import { packLayer } from '../layer/pack.ts'
import { type OverlaySnapshotter, openOverlaySnapshotter } from '../snapshot/overlay-snapshotter.ts'
import { watchMountPoints } from './mount-points.ts'

let folder: string
let snapshots: OverlaySnapshotter
beforeAll(async () => {
  folder = mkdtempSync('/var/tmp/slipway-points-')
  snapshots = await openOverlaySnapshotter(join(folder, 'overlay'))
  await snapshots.sweep()
})
afterAll(async () => {
  for (const { id } of await snapshots.list()) await snapshots.remove(id)
  rmSync(folder, { recursive: true, force: true })
})

async function baseWith(paths: string[]): Promise<Digest> {
  const root = mkdtempSync(join(folder, 'base-'))
  chmodSync(root, 0o755)
  for (const path of paths) mkdirSync(join(root, path), { recursive: true })
  for (const path of paths) utimesSync(join(root, path), 1_600_000_000.5, 1_600_000_000.5)
  const tar = execFileSync('tar', ['-C', root, '--format=pax', '-c', '.'])
  const diffId = digestFromHex(createHash('sha256').update(tar).digest('hex'))
  await snapshots.addLayer(diffId, Readable.from([tar], { objectMode: false }), async () => {})
  return diffId
}

/** What a step leaves as a layer, whose runtime makes mount points and whose command does `command`. */
async function step(id: string, base: Digest, command: (rootfs: string) => void = () => {}) {
  const { rootfs } = await snapshots.prepare(id, [base])
  const points = watchMountPoints(rootfs)
  for (const path of ['proc', 'sys', 'dev', 'etc']) mkdirSync(join(rootfs, path), { recursive: true })
  for (const path of ['etc/hosts', 'etc/resolv.conf']) writeFileSync(join(rootfs, path), '')
  points.made()
  command(rootfs)
  points.remove()
  await snapshots.unmount(id)
  const path = join(folder, `${id}.tar.gz`)
  await using changes = await snapshots.openChanges(id)
  const { upper, lower } = changes
  const { isEmpty } = await packLayer(upper, { path, lower })
  return { isEmpty, names: execFileSync('tar', ['-tzf', path], { encoding: 'utf8' }).split('\n').filter(Boolean) }
}

test('a step that does nothing is no layer, whatever its base lacks', async () => {
  for (const [at, paths] of [[], ['etc'], ['etc/sub', 'proc']].entries()) {
    expect(await step(`nothing${at}`, await baseWith(paths))).toEqual({ isEmpty: true, names: [] })
  }
})

test('what the command changes beside its mount points is kept', async () => {
  const base = await baseWith(['etc/sub'])
  const made = await step('made', base, rootfs => writeFileSync(join(rootfs, 'etc/mine'), 'mine'))
  expect(made).toEqual({ isEmpty: false, names: ['etc/', 'etc/mine'] })
  const touched = await step('touched', base, rootfs => utimesSync(join(rootfs, 'etc'), 5, 5))
  expect(touched).toEqual({ isEmpty: false, names: ['etc/'] })
})
