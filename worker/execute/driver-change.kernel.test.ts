import { mkdtempSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import { openTestHost, openTestPorts } from '#test/support/test-host.ts'
import { openContainerStream } from './container-streams.ts'
import type { HostPorts } from './ports.ts'
import { releaseContainer, removeContainer } from './remove-container.ts'
import { runContainer } from './run-container.ts'

/** Containers of an agent that starts with another storage driver, which has neither their files nor their image. */

const COMMAND = ['sh', '-c', 'test -e /mine && echo kept > /again; echo mine > /mine; exec sleep 1000']

const run = (want: DesiredContainer, number: number, ports: HostPorts) =>
  runContainer({ kind: 'runContainer', want, run: number, attempts: 0, restarts: 0 }, ports)

async function read(kind: 'changes' | 'export', want: DesiredContainer, ports: HostPorts): Promise<string> {
  const chunks: Uint8Array[] = []
  const order = { kind, containerId: want.id }
  const stream = openContainerStream(order, ports, () => want, new AbortController().signal)
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks).toString('latin1')
}

test('one that runs is read as it is, keeps its files when it begins anew, and is removed whole', async () => {
  const folder = mkdtempSync('/var/tmp/slipway-tdrv-')
  const host = await openTestHost('tdrv', 43, folder, 'erofs')
  onTestFinished(() => host[Symbol.asyncDispose]())
  const want = host.want(COMMAND)
  await run(want, 1, host.ports)
  const ports = await openTestPorts('tdrv', folder, 'vfs')
  const hasWritten = async (path: string) => (await read('changes', want, ports)).includes(`"${path}"`)
  expect(await waitUntil(() => hasWritten('/mine'), 5000)).toBe(true)
  expect(await read('export', want, ports)).toContain('bin/busybox')
  expect(await ports.fetches.state(want)).toEqual({ state: 'present' })

  await ports.runtime.kill(want.id, 'SIGKILL')
  const hasEnded = async () => (await ports.runtime.inspect(want.id)).state === 'exited'
  expect(await waitUntil(hasEnded, 5000)).toBe(true)
  await releaseContainer(ports, want.id)
  expect((await ports.snapshots.list()).map(({ isMounted }) => isMounted)).toEqual([false])
  await run(want, 2, ports)
  expect(await waitUntil(() => hasWritten('/again'), 5000)).toBe(true)
  expect(readdirSync(join(folder, 'vfs/snapshots'))).toEqual([])

  await removeContainer(ports, want.id)
  expect(readdirSync(join(folder, 'overlay/snapshots'))).toEqual([])
  expect(ports.hasSnapshot(want.id)).toBe(false)
})
