import { readdirSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { waitUntil } from '#infra/local/processes.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import { openTestHost, type TestHost } from '#test/support/test-host.ts'
import { openSnapshot } from './container-snapshot.ts'
import { releaseContainer, removeContainer } from './remove-container.ts'
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
