import { mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { bootSlipway } from '#infra/local/boot.ts'
import { waitUntil } from '#infra/local/processes.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import { type DiskKind, makeDiskFile, mountDisk, unmountDisk } from '#test/support/disks.ts'
import { bootWithBusybox, type TestSlipway } from '#test/support/slipway.ts'

/** API, its database and agent on one small disk, which a container fills to its last block. */

const PASSES_MS = 60_000
let folder: string
let slipway: TestSlipway | undefined
afterEach(async () => {
  const left = await slipway?.remove()
  slipway = undefined
  await unmountDisk(join(folder, 'disk'))
  rmSync(folder, { recursive: true, force: true })
  expect(left).toEqual([])
})

async function bootOnDisk(kind: DiskKind, mebibytes: number): Promise<TestSlipway> {
  folder = mkdtempSync('/var/tmp/slipway-full-start-')
  makeDiskFile(join(folder, 'image'), kind, mebibytes)
  mountDisk(join(folder, 'image'), join(folder, 'disk'))
  slipway = await bootWithBusybox('e2efulls', join(folder, 'disk/data'))
  return slipway
}

test.each([
  ['ext4', 192],
  ['btrfs', 256],
] as const)('%s: what filled the disk is stopped and removed, and all parts start on it', async (kind, mebibytes) => {
  const { api, layout, ...parts } = await bootOnDisk(kind, mebibytes)
  const command = [
    'sh',
    '-c',
    'trap "exit 0" TERM; cat /dev/zero > /filler; while :; do cat /dev/zero >> /filler; sleep 1; done',
  ]
  const make = (name: string) => api.call('POST', '/v1/containers?wait=running', { name, image: 'busybox', command })
  await make('filler')
  const freeBytes = () => {
    const { bavail, bsize } = statfsSync(layout.dataFolder)
    return bavail * bsize
  }
  // Its reserve goes, too, and what is left of that is the container's again.
  expect(await waitUntil(async () => freeBytes() < 1_000_000, PASSES_MS)).toBe(true)
  const isRefused = () =>
    make('another').then(
      () => false,
      ({ problem }) => problem.code === 'host.disk-full',
    )
  expect(await waitUntil(isRefused, PASSES_MS)).toBe(true)

  for (const part of [parts.agent, parts.controlPlane, parts.nats]) await part.stop()
  await using _again = await bootSlipway(layout, () => {})
  const state = async () => (await api.call<{ state: string }>('GET', '/v1/containers/filler')).state
  expect(await state()).toBe('running')
  await api.call('POST', '/v1/containers/filler/stop?wait=exited&timeout=60', { timeout: 5 })
  await api.call('DELETE', '/v1/containers/filler?force=true&wait=removed&timeout=60')
  expect(await waitUntil(async () => freeBytes() > 20_000_000, PASSES_MS)).toBe(true)
  await uploadFiles(api, { Dockerfile: 'FROM busybox\n' })
})
