import { execFile } from 'node:child_process'
import { copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { cgroupVersion } from './cgroup.ts'

const execute = promisify(execFile)
let folder: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'slipway-cgroup-'))
})
afterEach(() => rm(folder, { recursive: true, force: true }))

/** In a mount namespace of its own, without mounts of other instances, so that nothing but ours decides. */
async function inOwnMounts(code: string, ...after: string[]): Promise<string> {
  const module = new URL('cgroup.ts', import.meta.url).href
  const program = `import { prepareCgroups, removeCgroups } from '${module}'; ${code}`
  const others = `grep ' - cgroup .*hugetlb' /proc/self/mountinfo | cut -d' ' -f5 | xargs -r -n1 umount`
  const lines = ['set -e', others, '"$1" --input-type=module -e "$2"', ...after]
  const args = ['--mount', 'sh', '-c', lines.join('\n'), 'sh', process.execPath, program]
  return (await execute('unshare', args, { timeout: 30_000 })).stdout
}

const MOUNTS = `{ grep ' - cgroup .*hugetlb' /proc/self/mountinfo || true; } | cut -d' ' -f5`

test.skipIf(cgroupVersion() === 'v2')('on a hybrid host runc and crun both run while our mount is there', async () => {
  await mkdir(join(folder, 'rootfs/bin'), { recursive: true })
  await copyFile('/bin/busybox', join(folder, 'rootfs/bin/busybox'))
  await execute('runc', ['spec', '--bundle', folder])
  const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'))
  config.process = { ...config.process, terminal: false, args: ['/bin/busybox', 'echo', 'ran'] }
  config.linux.namespaces.push({ type: 'cgroup' }) // Then runc mounts each controller by its name.
  config.linux.cgroupsPath = '/slipway-tcgroup/test'
  await writeFile(join(folder, 'config.json'), JSON.stringify(config))
  const run = (runtime: string) => `${runtime} --root ${folder}/${runtime} run --bundle ${folder} tcgroup 2>&1`
  const said = await inOwnMounts(`await prepareCgroups('${folder}')`, run('runc'), run('crun'))
  expect(said.trim()).toBe('ran\nran')
})

test('preparing twice is preparing once, and removing leaves no mount', async () => {
  const twice = `await prepareCgroups('${folder}'); await prepareCgroups('${folder}')`
  const mounts = (await inOwnMounts(twice, MOUNTS)).split('\n').filter(line => line.startsWith(folder))
  expect(mounts.length).toBeLessThanOrEqual(1)
  const removed = await inOwnMounts(`${twice}; await removeCgroups('tcgroup', '${folder}')`, MOUNTS)
  expect(removed).not.toContain(folder)
})
