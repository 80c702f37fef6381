import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { pathsOf } from '#infra/local/layout.ts'
import { waitUntil } from '#infra/local/processes.ts'
import type { BuildStep, BuildView } from '#shared/protocol/builds.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import { bootReadyFleet, type Fleet } from '#test/support/fleet.ts'

/** Builds on two hosts, each in namespaces of its own: one that dies in a build, a bus that is away. */
let fleet: Fleet

beforeAll(async () => {
  fleet = await bootReadyFleet('e2eflt', {}, [{ SLIPWAY_LABELS: 'zone=one' }, { SLIPWAY_LABELS: 'zone=two' }])
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
function removeObjects(areLarge: (bytes: number) => boolean): void {
  const folder = join(fleet.dataFolder, 'control-plane/blobs')
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const info = statSync(join(folder, name))
    if (info.isFile() && areLarge(info.size)) rmSync(join(folder, name))
  }
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

/** Builds where `zone` says, and what came of it. */
async function builtIn(zone: string, dockerfile: string, more: object = {}) {
  const id = await build(dockerfile, { constraints: { zone }, ...more })
  expect(await reaches(id, 'succeeded', 60_000), await logOf(id)).toBe(true)
  return { ...(await look(id)), log: await logOf(id) }
}
const stepsShared = async () => (await fleet.api.call<{ steps: number }>('GET', '/v1/builds/cache')).steps
/** Whether the fleet knows of all steps that the first host keeps: it writes down when it told of one. */
async function areAllTold(): Promise<boolean> {
  const folder = join(pathsOf(fleet.hosts[0].layout).agent, 'builds/cache')
  const steps = readdirSync(folder, { withFileTypes: true }).filter(({ name }) => !name.endsWith('.part'))
  return steps.every(step => !step.isFile() || 'sharedAt' in JSON.parse(readFileSync(join(folder, step.name), 'utf8')))
}
/** At least so many in all: steps of earlier tests may come late. */
async function areShared(count: number): Promise<boolean> {
  return (await waitUntil(areAllTold, 90_000)) && (await stepsShared()) >= count
}

const CHAIN =
  'FROM busybox\nRUN head -c 3000000 /dev/urandom > /big\nRUN cat /proc/uptime > /id\nCOPY <<END /text\nfixed\nEND'

test('what one host did is cached on the other: no layer comes until something needs its files', async () => {
  const before = await stepsShared()
  const first = await builtIn('one', CHAIN)
  expect(await areShared(before + 3)).toBe(true)
  const again = await builtIn('two', CHAIN)
  expect(again.imageDigest).toBe(first.imageDigest)
  expect(again.log.match(/CACHED/g)).toHaveLength(3)
  expect(again.log).not.toContain('fetching')
  const more = await builtIn('two', `${CHAIN}\nRUN sha256sum /big`)
  expect(more.log).toContain('fetching 3 layers of cached steps')
  const here = await builtIn('one', `${CHAIN}\nRUN sha256sum /big # here`)
  const sumIn = (log: string) => /[0-9a-f]{64} {2}\/big/.exec(log)?.[0]
  expect(sumIn(more.log)).toBeDefined()
  expect(sumIn(more.log)).toBe(sumIn(here.log))
}, 120_000)

test('a linked copy that is cached needs nothing of what is below it, and is known on another base, too', async () => {
  const linked = 'COPY --link <<END /linked/text\nfixed\nEND'
  const on = (name: string) => `FROM busybox\nRUN head -c 2000000 /dev/urandom > /${name}\n${linked}`
  const before = await stepsShared()
  const first = await builtIn('one', on('below'))
  expect(await areShared(before + 3)).toBe(true)
  const again = await builtIn('two', on('below'))
  expect(again.imageDigest).toBe(first.imageDigest)
  expect(again.log.match(/CACHED/g)).toHaveLength(2)
  expect(again.log).not.toContain('fetching')
  const other = await builtIn('two', on('other'))
  expect(other.log.match(/CACHED/g)).toHaveLength(1)
}, 120_000)

test('a layer that the store has lost is made again', async () => {
  const lost = CHAIN.replace('/big', '/lost')
  const before = await stepsShared()
  await builtIn('one', lost)
  expect(await areShared(before + 3)).toBe(true)
  removeObjects(bytes => bytes > 3_000_000)
  const cached = await builtIn('two', `${lost}\nRUN wc -c < /lost`)
  expect(cached.log).toContain(
    "A layer of the fleet's cache is not in the store any more. The build begins anew without it.",
  )
  expect(cached.log).toMatch(/^#\d+ [\d.]+ 3000000$/m)
}, 120_000)

test('a host that is killed shares the rest of its steps once it is back', async () => {
  const before = await stepsShared()
  const [host] = fleet.hosts
  const big =
    'FROM busybox AS one\nRUN head -c 90000000 /dev/urandom > /a && cp /a /b\nFROM busybox\nCOPY --from=one /etc/passwd /p'
  await builtIn('one', big)
  await host.kill()
  host.start({ SLIPWAY_LABELS: 'zone=one' })
  expect(await areShared(before + 2)).toBe(true)
  const again = await builtIn('two', big)
  expect(again.log.match(/CACHED/g)).toHaveLength(2)
}, 240_000)

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
  stopped?.start({ SLIPWAY_LABELS: stopped === fleet.hosts[0] ? 'zone=one' : 'zone=two' })
  const isReady = async () =>
    (await fleet.api.call<{ state: string }>('GET', `/v1/hosts/${host?.name}`)).state === 'ready'
  expect(await waitUntil(isReady, 30_000)).toBe(true)
}, 120_000)

test('a host that is killed in a long RUN: another finishes the build, and the first keeps nothing of it', async () => {
  const id = await build('FROM busybox\nRUN echo before > /before\nRUN echo begun; sleep 10; echo after > /after\n')
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
