import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildBusybox } from '#infra/local/base-images.ts'
import { waitUntil } from '#infra/local/processes.ts'
import type { BuildStep, BuildView } from '#shared/protocol/builds.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import { bootFleet, type Fleet } from '#test/support/fleet.ts'

/** Builds on two hosts, each in namespaces of its own: one that dies in a build, a bus that is away. */
let fleet: Fleet

beforeAll(async () => {
  fleet = await bootFleet('e2eflt')
  const [a, b] = fleet.hosts
  a.start({ SLIPWAY_LABELS: 'zone=one' })
  b.start({ SLIPWAY_LABELS: 'zone=two' })
  const areReady = async () => {
    const { items } = await fleet.api.call<{ items: { state: string }[] }>('GET', '/v1/hosts')
    return items.every(({ state }) => state === 'ready')
  }
  expect(await waitUntil(areReady, 30_000)).toBe(true)
  await buildBusybox(fleet.api, () => {})
}, 120_000)
afterAll(async () => {
  expect(await fleet?.remove()).toEqual([])
}, 120_000)

async function build(dockerfile: string, more: object = {}): Promise<string> {
  const context = await uploadFiles(fleet.api, { Dockerfile: dockerfile })
  const { id } = await fleet.api.call<{ id: string }>('POST', '/v1/builds', { context, tags: ['fleet:1'], ...more })
  return id
}
const look = (id: string) => fleet.api.call<BuildView>('GET', `/v1/builds/${id}`)
const reaches = (id: string, state: string, ms: number) => waitUntil(async () => (await look(id)).state === state, ms)

async function logOf(id: string): Promise<string> {
  let text = ''
  for await (const piece of fleet.api.text(`/v1/builds/${id}/logs`)) text += piece
  return text
}
const says = (id: string, words: string) => waitUntil(async () => (await logOf(id)).includes(words), 30_000)

test('labels choose the host; a build that no host fits waits, and says why', async () => {
  const ids = [
    await build('FROM busybox\nRUN echo 1\n', { constraints: { zone: 'one' } }),
    await build('FROM busybox\nRUN echo 2\n', { constraints: { zone: 'two' } }),
  ]
  for (const id of ids) expect(await reaches(id, 'succeeded', 60_000), await logOf(id)).toBe(true)
  expect(await Promise.all(ids.map(async id => (await look(id)).host?.name))).toEqual(
    fleet.hosts.map(({ name }) => name),
  )
  const nowhere = await build('FROM busybox\n', { constraints: { zone: 'three' } })
  expect(await look(nowhere)).toMatchObject({ state: 'queued', waiting: expect.stringContaining('zone=three') })
  expect((await look(nowhere)).host).toBeUndefined()
  await fleet.api.call('POST', `/v1/builds/${nowhere}/cancel?wait=finished`, {})
  expect(await look(nowhere)).toMatchObject({ state: 'canceled' })
})

test('an agent that is stopped in order gives its build back: another goes on at once, and no attempt is lost', async () => {
  const id = await build('FROM busybox\nRUN echo first > /first\nRUN echo begun; sleep 8; echo after > /after\n')
  expect(await says(id, 'begun\n')).toBe(true)
  const { host } = await look(id)
  const stopped = fleet.hosts.find(({ name }) => name === host?.name)
  await stopped?.stop()
  expect(stopped?.run('cat', '/proc/self/mountinfo')).not.toContain('/build-')
  expect(await reaches(id, 'succeeded', 60_000), await logOf(id)).toBe(true)
  const done = await look(id)
  expect(done).toMatchObject({ attempts: 1 })
  expect(done.host?.name).not.toBe(host?.name)
  expect(await logOf(id)).toContain(`host ${host?.name} was stopped: the build goes back into the queue`)
  const { steps } = await fleet.api.call<{ steps: BuildStep[] }>('GET', `/v1/builds/${id}/steps`)
  expect(new Set(steps.map(({ number }) => number)).size).toBe(steps.length)
  const long = steps.filter(({ name }) => name.includes('sleep 8')).map(({ state }) => state)
  expect(long).toEqual(['canceled', 'done'])
  stopped?.start()
  const isReady = async () =>
    (await fleet.api.call<{ state: string }>('GET', `/v1/hosts/${host?.name}`)).state === 'ready'
  expect(await waitUntil(isReady, 30_000)).toBe(true)
}, 120_000)

test('a host that is killed in a long RUN: another finishes the build, and the first keeps nothing of it', async () => {
  const id = await build('FROM busybox\nRUN echo before > /before\nRUN echo begun; sleep 25; echo after > /after\n')
  expect(await says(id, 'begun\n')).toBe(true)
  const { host } = await look(id)
  const lost = fleet.hosts.find(({ name }) => name === host?.name)
  await lost?.kill()
  expect(await reaches(id, 'succeeded', 150_000), await logOf(id)).toBe(true)
  const done = await look(id)
  expect(done).toMatchObject({ attempts: 2 })
  expect(done.host?.name).not.toBe(host?.name)
  expect(await logOf(id)).toContain(`host ${host?.name} was not heard of any more: host ${done.host?.name} takes over`)
  lost?.start()
  const hasNothing = async () => !lost?.run('cat', '/proc/self/mountinfo').includes('/build-')
  expect(await waitUntil(hasNothing, 60_000)).toBe(true)
  expect(await look(id)).toMatchObject({ state: 'succeeded', imageDigest: done.imageDigest })
}, 240_000)

test('with the bus stopped builds begin all the same', async () => {
  await fleet.nats.stop()
  const id = await build('FROM busybox\nRUN echo without a bus\n')
  expect(await reaches(id, 'succeeded', 60_000), await logOf(id)).toBe(true)
}, 90_000)
