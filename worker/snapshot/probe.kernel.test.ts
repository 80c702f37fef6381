import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openDriver, probeDrivers } from './probe.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-probe-'))
})
afterEach(() => {
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).not.toContain(folder)
  rmSync(folder, { recursive: true, force: true })
})

const usable = async (path: string) => {
  const { driver, drivers } = await probeDrivers(path)
  return { driver, names: drivers.filter(({ usable }) => usable).map(({ name }) => name) }
}

test('each driver is tried, the best that works is taken, and nothing of the trial is left', async () => {
  mkdirSync(join(folder, '.probe-left/lower'), { recursive: true })
  const { driver, drivers } = await probeDrivers(folder)
  expect(driver).toBe('erofs')
  expect(drivers.map(({ name }) => name)).toEqual(['erofs', 'overlay', 'btrfs', 'zfs', 'fuse-overlayfs', 'vfs'])
  for (const { usable, reason } of drivers) expect(usable).toBe(reason === undefined)
  expect(drivers.find(({ name }) => name === 'vfs')?.usable).toBe(true)
  expect(drivers.find(({ name }) => name === 'btrfs')?.reason).toContain('does not lie on btrfs')
  expect(drivers.find(({ name }) => name === 'fuse-overlayfs')?.note).toContain('hard links')
  expect(readdirSync(folder)).toEqual([])
})

test('on a filesystem that overlay cannot write to, another one is taken', async () => {
  const disk = join(folder, 'disk')
  mkdirSync(disk)
  // An overlay's upper folder cannot lie on an overlay.
  const parts = ['lower', 'upper', 'work'].map(name => join(folder, name))
  for (const path of parts) mkdirSync(path)
  const [lower, upper, work] = parts
  const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`
  execFileSync('mount', ['-t', 'overlay', '-o', options, 'none', disk])
  try {
    const found = await usable(disk)
    expect(found.names).not.toContain('overlay')
    expect(found.names).toContain('vfs')
    expect(found.driver).toBe(found.names[0])
    const forced = probeDrivers(disk, 'overlay')
    await expect(forced).rejects.toMatchObject({ code: 'host.storage-unusable' })
    await expect(forced).rejects.toThrow('SLIPWAY_STORAGE_DRIVER: overlay cannot work here')
  } finally {
    execFileSync('umount', [disk])
  }
})

test('a driver whose data are there stays, unless another one is forced; an unknown one is refused', async () => {
  const snapshots = await openDriver('vfs', folder, () => {})
  await snapshots.sweep()
  expect((await probeDrivers(folder)).driver).toBe('vfs')
  expect((await probeDrivers(folder, 'overlay')).driver).toBe('overlay')
  await expect(probeDrivers(folder, 'aufs')).rejects.toThrow(
    'aufs is none of erofs, overlay, btrfs, zfs, fuse-overlayfs, vfs.',
  )
})
