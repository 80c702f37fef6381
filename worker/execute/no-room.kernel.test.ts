import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openTestHost } from '#test/support/test-host.ts'
import { runContainer } from './run-container.ts'

test('a container that finds no room says so, leaves nothing that runs, and runs once there is some', async () => {
  const folder = mkdtempSync('/var/tmp/slipway-troom-')
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m,mode=700', 'tmpfs', folder])
  try {
    const data = join(folder, 'data')
    mkdirSync(data)
    await using host = await openTestHost('troom', 4, data)
    const { ports } = host
    const want = host.want(['sleep', '1000'])
    const run = () => runContainer({ kind: 'runContainer', want, run: 1, attempts: 0, restarts: 0 }, ports)
    execFileSync('sh', ['-c', `dd if=/dev/zero of=${join(folder, 'filler')} bs=4k 2>/dev/null || true`])
    await expect(run()).rejects.toMatchObject({ code: 'host.disk-full' })
    expect((await ports.runtime.inspect(want.id)).state).toBe('absent')
    expect((await ports.snapshots.list()).filter(({ isMounted }) => isMounted)).toEqual([])
    rmSync(join(folder, 'filler'))
    await run()
    expect((await ports.runtime.inspect(want.id)).state).toBe('running')
  } finally {
    execFileSync('umount', [folder])
    rmSync(folder, { recursive: true, force: true })
  }
})
