import { readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import { openSnapshot } from './container-snapshot.ts'
import { openContainerStream } from './container-streams.ts'
import { releaseContainer, removeContainer } from './remove-container.ts'
import { resetContainer } from './reset-container.ts'
import { runContainer } from './run-container.ts'

/** Who reads the files of a container that has ended, while others read, start or clean up: each at the worst moment. */

let host: TestHost

beforeAll(async () => {
  host = await openTestHost('tsnap', 7)
})
afterAll(() => host?.[Symbol.asyncDispose]())

const run = (want: DesiredContainer, number: number, ports = host.ports) =>
  runContainer({ kind: 'runContainer', want, run: number, attempts: 0, restarts: 0 }, ports)
const isMounted = async ({ id }: DesiredContainer) =>
  (await host.ports.snapshots.list()).some(snapshot => snapshot.id === id && snapshot.isMounted)

async function endedContainer(): Promise<DesiredContainer> {
  const want = host.want(['true'])
  await run(want, 1)
  expect(await waitUntil(async () => (await host.ports.runtime.inspect(want.id)).state === 'exited', 5000)).toBe(true)
  await releaseContainer(host.ports, want.id)
  expect(await isMounted(want)).toBe(false)
  return want
}

test('two readers: the one that leaves first takes nothing from the other, and the last one unmounts', async () => {
  const want = await endedContainer()
  const first = await openSnapshot(host.ports, want.id, want.spec)
  const second = await openSnapshot(host.ports, want.id, want.spec)
  await first[Symbol.asyncDispose]()
  await releaseContainer(host.ports, want.id)
  expect(readdirSync(second.rootfs)).toContain('bin')
  await second[Symbol.asyncDispose]()
  expect(await isMounted(want)).toBe(false)
  await removeContainer(host.ports, want.id)
})

test.each(['before its process is made', 'when it runs'])(
  'a reader that looked before the container started unmounts nothing %s',
  async seen => {
    const want = await endedContainer()
    const sleeping = { ...want, spec: { ...want.spec, command: ['sleep', '1000'] } }
    const { runtime } = host.ports
    const made = Promise.withResolvers<void>()
    const looked = Promise.withResolvers<void>()
    const reader = await openSnapshot(
      {
        ...host.ports,
        runtime: {
          ...runtime,
          inspect: async id => {
            const found = await runtime.inspect(id)
            looked.resolve()
            await made.promise
            return found
          },
        },
      },
      want.id,
      want.spec,
    )
    const leaving = reader[Symbol.asyncDispose]()
    await looked.promise // It has seen that nothing runs, and goes on to unmount.
    const ports = {
      ...host.ports,
      runtime: {
        ...runtime,
        create: async (...given: Parameters<typeof runtime.create>) => {
          if (seen.startsWith('before')) {
            made.resolve()
            await leaving
          }
          return runtime.create(...given)
        },
      },
    }
    await run(sleeping, 2, ports)
    made.resolve()
    await leaving
    expect([(await runtime.inspect(want.id)).state, await isMounted(want)]).toEqual(['running', true])
    await removeContainer(host.ports, want.id)
  },
)

const GONE = { code: 'container.files-unavailable' }

test('an update takes no files that somebody reads, nor is anything of its container gone; afterwards it does', async () => {
  const want = await endedContainer()
  const updated = { ...want, spec: { ...want.spec, revision: 1 } }
  {
    await using snapshot = await openSnapshot(host.ports, want.id, want.spec)
    writeFileSync(join(snapshot.rootfs, 'written'), '')
    await expect(run(updated, 2)).rejects.toMatchObject({ code: 'container.files-in-use' })
    await expect(resetContainer(host.ports, want.id, 1)).rejects.toMatchObject({ code: 'container.files-in-use' })
    expect(await host.ports.runtime.inspect(want.id)).toMatchObject({ state: 'exited', exitCode: 0 })
    expect(readdirSync(snapshot.rootfs)).toContain('written')
    snapshot.requireWhole()
  }
  await run(updated, 2)
  await using snapshot = await openSnapshot(host.ports, want.id, updated.spec)
  expect(readdirSync(snapshot.rootfs)).not.toContain('written')
  await removeContainer(host.ports, want.id)
})

test('whoever asked for the files of before an update has none, instead of those of another image', async () => {
  const want = await endedContainer()
  await resetContainer(host.ports, want.id, 1)
  await expect(openSnapshot(host.ports, want.id, want.spec)).rejects.toMatchObject(GONE)
  expect((await host.ports.snapshots.list()).map(({ id }) => id)).not.toContain(want.id)
  await removeContainer(host.ports, want.id)
})

test('a removal goes on while files are read, and whoever reads them hears that they went, even where others are made', async () => {
  const want = await endedContainer()
  const read = openContainerStream(
    { kind: 'export', containerId: want.id },
    host.ports,
    () => want,
    new AbortController().signal,
  )
  await using snapshot = await openSnapshot(host.ports, want.id, want.spec)
  await read.next()
  await removeContainer(host.ports, want.id)
  expect(snapshot.requireWhole).toThrow(expect.objectContaining(GONE))
  const rest = async () => {
    for await (const _ of read);
  }
  await expect(rest()).rejects.toMatchObject(GONE)
  await expect(openSnapshot(host.ports, want.id, want.spec)).rejects.toMatchObject(GONE)
  await run(want, 1)
  expect(snapshot.requireWhole).toThrow(expect.objectContaining(GONE))
  await removeContainer(host.ports, want.id)
})

test('whoever comes while the files are taken away makes no new ones', async () => {
  const want = await endedContainer()
  const { snapshots } = host.ports
  let came: Promise<unknown> | undefined
  const slow = {
    ...host.ports,
    snapshots: Object.assign(Object.create(snapshots) as typeof snapshots, {
      remove: async (id: string) => {
        await snapshots.remove(id)
        came = openSnapshot(host.ports, want.id, want.spec)
        await expect(came).rejects.toMatchObject(GONE)
      },
    }),
  }
  await removeContainer(slow, want.id)
  expect(came).toBeDefined()
  expect((await snapshots.list()).map(({ id }) => id)).not.toContain(want.id)
})
