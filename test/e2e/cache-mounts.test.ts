import { globSync, readdirSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { pathsOf } from '#infra/local/layout.ts'
import { waitUntil } from '#infra/local/processes.ts'
import type { BuildView } from '#shared/protocol/builds.ts'
import type { CacheMountView } from '#shared/protocol/cache-mounts.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import { bootReadyFleet, type Fleet, type FleetHost } from '#test/support/fleet.ts'

/** Cache mounts that go from host to host: two agents, each with a data folder of its own. */
let fleet: Fleet
let a: FleetHost
let b: FleetHost

beforeAll(async () => {
  fleet = await bootReadyFleet('e2ecmt', { SLIPWAY_BUILD_LIMITS: '{"cacheMounts": {"max": "200m"}}' })
  ;[a, b] = fleet.hosts
}, 120_000)
afterAll(async () => {
  expect(await fleet?.remove()).toEqual([])
}, 120_000)

const BOTH = { save: true, restore: true }
let builds = 0

/** Runs `script` with the mount `id` at /c on `host`; its log once the build and what follows it have ended. */
async function run(
  host: FleetHost,
  id: string,
  script: string,
  cacheMounts: object = BOTH,
  more = '',
): Promise<string> {
  const step = `RUN --mount=type=cache,id=${id},target=/c${more} ${script} # ${builds++}`
  const context = await uploadFiles(fleet.api, { Dockerfile: `FROM busybox\n${step}\n` })
  const body = { context, tags: ['mounts:1'], host: host.name, cacheMounts }
  const build = await fleet.api.call<BuildView>('POST', '/v1/builds?wait=finished&timeout=120', body)
  const log = () => logOf(build.id)
  expect(build.state, await log()).toBe('succeeded')
  if ('save' in cacheMounts && cacheMounts.save) {
    const hasSaved = async () => /saving cache mount[\s\S]*DONE/.test((await log()).split('\nbuilt ')[1] ?? '')
    expect(await waitUntil(hasSaved, 60_000), await log()).toBe(true)
  }
  return log()
}

async function logOf(id: string): Promise<string> {
  let text = ''
  for await (const piece of fleet.api.text(`/v1/builds/${id}/logs`)) text += piece
  return text
}

async function saved(id: string): Promise<CacheMountView | undefined> {
  const { items } = await fleet.api.call<{ items: CacheMountView[] }>('GET', '/v1/builds/cache/mounts')
  return items.find(mount => mount.id === id)
}

const mountFolders = (host: FleetHost) => readdirSync(join(pathsOf(host.layout).agent, 'builds/cache-mounts'))

test('what one host has in a mount another begins with: owners, modes, links and times', async () => {
  const make =
    'mkdir -p /c/d && echo one > /c/d/f && chown 5:6 /c/d/f && chmod 4750 /c/d/f && ln /c/d/f /c/hard && ln -s d/f /c/soft && touch -d @1000 /c/d/f && chmod 711 /c'
  expect(await run(a, 'tree', make)).toMatch(/saving cache mount tree\n(.*\n)*.* saved (about )?[\d.]+ (bytes|.iB)/)
  expect(await saved('tree')).toMatchObject({ id: 'tree', architecture: expect.any(String), build: expect.any(String) })
  const look = "stat -c '%n %u:%g %a %h %Y' /c/d/f && readlink /c/soft && stat -c '%a' /c && cat /c/hard"
  const log = await run(b, 'tree', look, BOTH, ',sharing=locked')
  expect(log).toContain('restoring cache mount tree')
  expect(log).toMatch(/\/c\/d\/f 5:6 4750 2 1000\n.* d\/f\n.* 711\n.* one\n/)
  expect(log).toContain('unchanged since it was saved or restored here')
})

test('a mount that a host has stays as it is there, and what it saves takes the place of the one before', async () => {
  await run(a, 'two', 'echo first > /c/f')
  const first = await saved('two')
  expect(await run(b, 'two', 'cat /c/f; echo second > /c/f')).toContain('first\n')
  const second = await saved('two')
  expect(second?.digest).not.toBe(first?.digest)
  expect(second?.key).toBe(first?.key)
  expect(await run(a, 'two', 'cat /c/f', { restore: true })).not.toContain('restoring')
  expect((await saved('two'))?.digest).toBe(second?.digest)
})

test('a host that was started anew reads a mount that did not change, and sends nothing', async () => {
  await run(a, 'again', 'echo x > /c/f')
  const before = await saved('again')
  await a.kill()
  a.start()
  expect(await run(a, 'again', 'true')).toContain(' unchanged since it was saved\n')
  expect(await saved('again')).toMatchObject({ digest: before?.digest, savedAt: before?.savedAt })
})

test('only what a build asks for is saved or restored', async () => {
  expect(await run(a, 'own', 'echo x > /c/f', {})).not.toContain('cache mount')
  expect(await run(a, 'own', 'echo x > /c/f', { restore: ['another'] })).not.toContain('cache mount')
  expect(await saved('own')).toBeUndefined()
  expect(await run(b, 'own', 'ls /c | wc -l', { restore: ['own'] })).toContain('nothing was saved of it yet')
})

test('a damaged object is an empty mount and a line of the log, and no half of it', async () => {
  await run(a, 'broken', 'head -c 3000000 /dev/urandom > /c/f')
  const mount = await saved('broken')
  const objects = globSync(
    join(pathsOf({ ...a.layout, dataFolder: join(a.layout.dataFolder, '..') }).controlPlane, '**/blobs/**'),
  )
  const object = objects.find(path => statSync(path).isFile() && statSync(path).size === mount?.bytes)
  expect(object).toBeDefined()
  truncateSync(object ?? '', 2_000_000)
  const log = await run(b, 'broken', 'ls -A /c | wc -l', { restore: true })
  expect(log).toContain('WARN: cache mount broken begins empty')
  expect(log).toMatch(/ 0\n/)
  expect(mountFolders(b).filter(name => name.endsWith('.part'))).toEqual([])
})

test('one that is larger than whoever runs it allows is not saved, and the log says so', async () => {
  const log = await run(a, 'large', 'dd if=/dev/zero of=/c/f bs=1 count=0 seek=300M 2>/dev/null; echo x > /c/x')
  expect(log).toContain('not saved: its files have about 300 MiB, more than the 200 MiB that are kept')
  expect(await saved('large')).toBeUndefined()
})

test('a save does not hold up a step that comes for the folder, and is of what the step left', async () => {
  await run(a, 'busy', 'head -c 100000000 /dev/urandom > /c/f', { restore: true })
  const step = (script: string) => `RUN --mount=type=cache,id=busy,target=/c ${script} # ${builds++}`
  const start = async (script: string, cacheMounts: object) => {
    const context = await uploadFiles(fleet.api, { Dockerfile: `FROM busybox\n${step(script)}\n` })
    const body = { context, tags: ['mounts:3'], host: a.name, cacheMounts }
    return fleet.api.call<BuildView>('POST', '/v1/builds', body)
  }
  const long = await start('echo half > /c/g; echo begun; sleep 4; echo whole > /c/g', {})
  expect(await waitUntil(async () => (await logOf(long.id)).includes(' begun\n'), 30_000)).toBe(true)
  await run(a, 'busy', 'echo saved > /c/saved')
  expect(await run(b, 'busy', 'cat /c/g /c/saved', { restore: true })).toMatch(/ whole\n.* saved\n/)
})

test('a saved mount is removed by its key', async () => {
  await run(a, 'gone', 'echo x > /c/f')
  const { key } = (await saved('gone')) ?? {}
  await fleet.api.call('DELETE', `/v1/builds/cache/mounts/${key}`)
  expect(await saved('gone')).toBeUndefined()
  expect(await run(b, 'gone', 'ls -A /c | wc -l', { restore: true })).toMatch(/ 0\n/)
})

test('an agent that is killed while it restores leaves no half of a mount', async () => {
  await run(a, 'killed', 'head -c 150000000 /dev/urandom > /c/f; echo whole > /c/z')
  const context = await uploadFiles(fleet.api, {
    Dockerfile: 'FROM busybox\nRUN --mount=type=cache,id=killed,target=/c cat /c/z; wc -c /c/f\n',
  })
  const body = { context, tags: ['mounts:2'], host: b.name, cacheMounts: { restore: true } }
  const { id } = await fleet.api.call<BuildView>('POST', '/v1/builds', body)
  const begun = AbortSignal.timeout(60_000)
  while (!mountFolders(b).some(name => name.endsWith('.part'))) await sleep(2, undefined, { signal: begun })
  await b.kill()
  expect(mountFolders(b).filter(name => name.endsWith('.part'))).toHaveLength(1)
  b.start()
  const isOver = async () => (await fleet.api.call<BuildView>('GET', `/v1/builds/${id}`)).state === 'succeeded'
  expect(await waitUntil(isOver, 120_000), await logOf(id)).toBe(true)
  expect(await logOf(id)).toMatch(/whole\n.*150000000 \/c\/f/)
  expect(mountFolders(b).filter(name => name.endsWith('.part'))).toEqual([])
}, 240_000)

test('an agent that is killed while it saves leaves what was saved before, and no part of a tar', async () => {
  await run(a, 'half', 'echo before > /c/f')
  const before = await saved('half')
  const context = await uploadFiles(fleet.api, {
    Dockerfile: 'FROM busybox\nRUN --mount=type=cache,id=half,target=/c head -c 150000000 /dev/urandom > /c/g\n',
  })
  const body = { context, tags: ['mounts:4'], host: a.name, cacheMounts: { save: true } }
  const { id } = await fleet.api.call<BuildView>('POST', '/v1/builds', body)
  const parts = () => readdirSync(join(pathsOf(a.layout).agent, 'builds/mount-transfers'))
  const begun = AbortSignal.timeout(60_000)
  while (parts().length === 0) await sleep(2, undefined, { signal: begun })
  await a.kill()
  expect(parts()).toHaveLength(1)
  expect(await saved('half')).toMatchObject({ digest: before?.digest, savedAt: before?.savedAt })
  a.start()
  const isOver = async () => (await fleet.api.call<BuildView>('GET', `/v1/builds/${id}`)).state === 'succeeded'
  expect(await waitUntil(isOver, 120_000), await logOf(id)).toBe(true)
  expect(await run(a, 'half', 'ls /c')).toMatch(/saved (about )?1[45]\d(\.\d)? MiB/)
  expect(parts()).toEqual([])
}, 240_000)
