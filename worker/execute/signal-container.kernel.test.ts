import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { systemClock } from '#shared/ports/clock.ts'
import { openTestHost } from '#test/support/test-host.ts'
import { readRecord } from '../observe/container-record.ts'
import { runContainer } from './run-container.ts'
import { sendStop } from './signal-container.ts'

test('on a full disk a container can be stopped, and its time is remembered', async () => {
  const folder = mkdtempSync('/var/tmp/slipway-tfull-')
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=32m,mode=700', 'tmpfs', folder])
  try {
    const data = join(folder, 'data')
    mkdirSync(data)
    await using host = await openTestHost('tfull', 2, data)
    const { ports } = host
    const want = host.want(['sh', '-c', 'trap "exit 7" TERM; while :; do sleep 0.05; done'])
    await runContainer({ kind: 'runContainer', want, run: 1, attempts: 0, restarts: 0 }, ports)
    await systemClock.sleep(200) // For the trap.
    execFileSync('sh', ['-c', `dd if=/dev/zero of=${join(folder, 'filler')} bs=4k 2>/dev/null || true`])
    await sendStop(ports, want, '')
    const record = await readRecord(join(ports.containersFolder, want.id))
    expect(record).toMatchObject({ run: 1, stopSentAt: expect.any(Number) })
    const deadline = systemClock.now() + 5000
    while ((await ports.runtime.inspect(want.id)).state === 'running' && systemClock.now() < deadline)
      await systemClock.sleep(20)
    expect((await ports.runtime.inspect(want.id)).state).toBe('exited')
  } finally {
    execFileSync('umount', [folder])
    rmSync(folder, { recursive: true, force: true })
  }
})
