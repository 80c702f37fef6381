import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Digest } from '#shared/digest.ts'
import type { BuildNeeds } from '#shared/domain/build-needs.ts'
import { type BuildId, type HostId, newId } from '#shared/domain/ids.ts'
import type { Report } from '#shared/protocol/agent.ts'
import { HOUR_MS, openRegistryWorld, type RegistryWorld } from '#test/support/registry-world.ts'
import { ingestBuildLog } from '../ingest/build-log.ts'
import { ingestReport } from '../ingest/report.ts'
import type { Ports } from '../ports.ts'
import { forgetHost, insertHost } from '../store/hosts.ts'
import { claimFor, endStrandedBuilds, releaseFor } from './build-claims.ts'
import { sealSecrets, secretsForBuild } from './build-secrets.ts'
import { readBuildSteps } from './build-steps.ts'
import { inspectBuild } from './build-view.ts'
import { readBuildLog } from './build-wait.ts'
import { insertQueued, orderCancel } from './builds.ts'
import { desiredState } from './desired.ts'

const [A, B] = ['a'.repeat(16), 'b'.repeat(16)] as [HostId, HostId]
const DAY_MS = 24 * HOUR_MS
let world: RegistryWorld
let ports: Ports

beforeEach(async () => {
  world = await openRegistryWorld()
  ports = world.ports
  for (const id of [A, B]) await insertHost(ports.db, { id, name: `host-${id[0]}`, createdAt: 1 })
  await beat(A, B)
})
afterEach(() => world[Symbol.asyncDispose]())

const FACTS = {
  ...{ hostname: 'one', architecture: 'amd64', os: 'linux', kernel: '6', cpus: 1, memoryBytes: 1e9 },
  ...{ diskBytes: 1e12, diskFreeBytes: 9e11, agentVersion: '0', snapshotter: 'erofs', runtime: 'crun', cgroup: 'v2' },
} as unknown as NonNullable<Report['facts']>

async function say(id: HostId, facts: object = {}, builds: Report['builds'] = []): Promise<void> {
  await ingestReport(ports, id, { generation: 0, facts: { ...FACTS, ...facts }, containers: [], builds })
}
async function beat(...ids: HostId[]): Promise<void> {
  for (const id of ids) await say(id)
}
/** Time passes while these hosts are heard of. */
async function pass(ms: number, ...heard: HostId[]): Promise<void> {
  for (let left = ms; left > 0; left -= 10_000) {
    world.advance(Math.min(left, 10_000))
    await beat(...heard)
  }
}

function waitAtMost(waitMs: number): void {
  ports = { ...ports, config: { ...ports.config, builds: { ...ports.config.builds, waitMs } } }
}

async function queue(needs: BuildNeeds = {}, more: { host?: string; tag?: string; secret?: string } = {}) {
  const id = newId<BuildId>(ports.random)
  const secrets = more.secret === undefined ? {} : { s: more.secret }
  const sealedSecrets = await sealSecrets(ports, id, { secrets, ssh: {} })
  const source = { kind: 'git', url: 'https://forge.example/a.git', submodules: false } as const
  const spec = { kind: 'dockerfile', source, dockerfile: 'Dockerfile', args: {}, noCache: false } as const
  const packing = { compression: 'gzip', forceCompression: false } as const
  const plain = { labels: {}, annotations: {}, contexts: {}, allow: [], update: [], hasSecrets: false }
  const rest = { ...plain, ...packing, provenance: false, sbom: false, cacheMounts: { restore: false, save: false } }
  const queued = { tags: [more.tag ?? 'app:1'], host: more.host, needs, sealedSecrets }
  await insertQueued(ports, id, queued, async tags => ({ ...spec, ...rest, tags }), [])
  return id
}

const TIMES = { startedAt: 1, finishedAt: 2 }
const SUCCEEDED = { state: 'succeeded' as const, ...TIMES, imageDigest: `sha256:${'0'.repeat(64)}` as Digest }
const CANCELED = { state: 'canceled' as const, ...TIMES }

describe('claims', () => {
  test('of many hosts that ask at once exactly one gets a build', async () => {
    const id = await queue()
    const asked = await Promise.all([A, B, A, B, A, B].map(host => claimFor(ports, host, undefined)))
    const got = asked.filter(claimed => claimed !== undefined)
    expect(got.map(({ build }) => build.id)).toEqual([id])
    expect(await inspectBuild(ports, id)).toMatchObject({ attempts: 1, state: 'queued' })
  })

  test('a claim makes the build desired state of the host, at the next generation', async () => {
    const id = await queue()
    const before = (await desiredState(ports, A, undefined))?.generation ?? -1
    expect((await claimFor(ports, A, undefined))?.build.generation).toBe(before + 1)
    expect(await desiredState(ports, A, before)).toMatchObject({
      generation: before + 1,
      builds: [{ id }],
      openBuilds: [id],
    })
  })

  test('labels, architecture and a named host are asked of the host', async () => {
    const labelled = await queue({ constraints: { zone: 'eu', 'disk.kind': 'nvme' } })
    const arm = await queue({ platform: 'linux/arm64' })
    const named = await queue({}, { host: 'host-b' })
    expect(await claimFor(ports, A, undefined)).toBeUndefined()
    await expect(claimFor(ports, A, named)).rejects.toMatchObject({ code: 'build.taken' })
    await say(A, { labels: { zone: 'eu' } })
    expect(await claimFor(ports, A, undefined)).toBeUndefined()
    await say(A, { labels: { zone: 'eu', 'disk.kind': 'nvme', more: 'x' } })
    expect((await claimFor(ports, A, undefined))?.build.id).toBe(labelled)
    await say(A, { architecture: 'arm64' })
    expect((await claimFor(ports, A, undefined))?.build.id).toBe(arm)
    expect((await claimFor(ports, B, named))?.build.id).toBe(named)
  })

  test('the host with the warm cache comes first; others wait a moment, or for none that is full or silent', async () => {
    const first = await queue()
    await claimFor(ports, A, undefined)
    await say(A, {}, [{ id: first, observed: SUCCEEDED }])
    const next = await queue()
    expect(await claimFor(ports, B, next)).toBeUndefined()
    world.advance(2000)
    expect((await claimFor(ports, B, next))?.build.id).toBe(next)
    const kept = await queue()
    expect((await claimFor(ports, A, undefined))?.build.id).toBe(kept)
    await say(A, { buildsAtOnce: 1 })
    expect((await claimFor(ports, B, await queue()))?.build).toBeDefined()
    await say(A, { buildsAtOnce: 9 })
    await pass(31_000, B)
    expect((await claimFor(ports, B, await queue()))?.build).toBeDefined()
  })
})

describe('a host that is lost', () => {
  test('its build is taken over once it is silent, and everything of its own is refused then', async () => {
    const id = await queue({}, { secret: 'hidden' })
    await claimFor(ports, A, undefined)
    await say(A, {}, [{ id, observed: { state: 'running', startedAt: 1 } }])
    await ingestBuildLog(ports, A, id, { offset: 0, lines: [{ at: 1, stream: 'step', text: 'of A' }] })
    await pass(29_000, B)
    expect(await claimFor(ports, B, undefined)).toBeUndefined()
    await pass(2000, B)
    const before = (await desiredState(ports, A, undefined))?.generation
    const claimed = await claimFor(ports, B, undefined)
    expect(claimed).toMatchObject({ build: { id }, logFrom: 2 })
    const { lines } = await readBuildLog(ports, id, 0)
    expect(lines.map(({ text }) => text)).toEqual([
      'of A',
      'host host-a was not heard of any more: host host-b takes over (attempt 2 of 3)',
    ])
    // It comes back, and is told that the build is not its own.
    await say(A, {}, [{ id, observed: CANCELED }])
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'running', host: { name: 'host-b' }, attempts: 2 })
    expect(await desiredState(ports, A, before)).toMatchObject({ builds: [], openBuilds: [] })
    const late = { offset: 2, lines: [{ at: 1, stream: 'step' as const, text: 'late' }] }
    await expect(ingestBuildLog(ports, A, id, late)).rejects.toMatchObject({ code: 'build.not-found' })
    await expect(secretsForBuild(ports, A, id)).rejects.toMatchObject({ code: 'build.not-found' })
    expect(await secretsForBuild(ports, B, id)).toEqual({ kept: {}, secrets: { s: 'hidden' }, ssh: {} })
    await ingestBuildLog(ports, B, id, late)
    expect((await readBuildLog(ports, id, 2)).lines).toHaveLength(1)
  })

  test('what an agent gives back goes to the next that asks, with no attempt lost and steps with new numbers', async () => {
    const id = await queue()
    await claimFor(ports, A, undefined)
    await say(A, {}, [{ id, observed: { state: 'running', startedAt: 1 } }])
    const lines = [{ at: 1, stream: 'step', step: 4, mark: 'begin', text: 'RUN x' } as const]
    await ingestBuildLog(ports, A, id, { offset: 0, lines })
    const before = (await desiredState(ports, A, undefined))?.generation
    await releaseFor(ports, B, id) // Not its own.
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'running', attempts: 1 })
    await releaseFor(ports, A, id)
    await releaseFor(ports, A, id)
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'queued', attempts: 0, host: undefined })
    expect(await desiredState(ports, A, before)).toMatchObject({ builds: [], openBuilds: [] })
    world.advance(2000)
    expect(await claimFor(ports, B, undefined)).toMatchObject({ build: { id }, logFrom: 2, stepFrom: 4 })
    expect(await inspectBuild(ports, id)).toMatchObject({ attempts: 1, host: { name: 'host-b' } })
    expect((await readBuildLog(ports, id, 1)).lines[0]).toMatchObject({ mark: 'anew' })
    expect(await readBuildSteps(ports, id)).toMatchObject([{ number: 4, state: 'canceled' }])
  })

  test('what is for one host alone, or is to be canceled, stays its own when it is given back', async () => {
    const bound = await queue({}, { host: 'host-a' })
    await claimFor(ports, A, bound)
    await releaseFor(ports, A, bound)
    expect(await inspectBuild(ports, bound)).toMatchObject({ attempts: 0, host: { name: 'host-a' } })
    expect(await claimFor(ports, A, bound)).toMatchObject({ build: { id: bound } })
    await orderCancel(ports, bound)
    await releaseFor(ports, A, bound)
    expect(await inspectBuild(ports, bound)).toMatchObject({ attempts: 1, host: { name: 'host-a' } })
  })

  test('the wait for a host begins anew when a build is given back, whoever may have it', async () => {
    waitAtMost(600_000)
    const ids = [await queue(), await queue({}, { host: 'host-a' })]
    for (const id of ids) await claimFor(ports, A, id)
    await pass(700_000, A, B)
    for (const id of ids) await releaseFor(ports, A, id)
    const states = async () => Promise.all(ids.map(async id => (await inspectBuild(ports, id)).state))
    await endStrandedBuilds(ports)
    expect(await states()).toEqual(['queued', 'queued'])
    await pass(600_000, A, B)
    await endStrandedBuilds(ports)
    expect(await states()).toEqual(['failed', 'failed'])
  })

  test('nobody who was cut off himself takes builds from others', async () => {
    await queue()
    await claimFor(ports, A, undefined)
    world.advance(60_000) // The API was away: no host was heard of.
    await beat(B)
    expect(await claimFor(ports, B, undefined)).toBeUndefined()
    await beat(A)
    await pass(40_000, A, B)
    expect(await claimFor(ports, B, undefined)).toBeUndefined()
  })

  test('a build that was begun three times without an end fails, and its secrets go', async () => {
    const id = await queue({}, { secret: 'hidden' })
    await claimFor(ports, A, undefined)
    expect(await claimFor(ports, A, id)).toMatchObject({ logFrom: 1 })
    expect(await claimFor(ports, A, id)).toMatchObject({ logFrom: 2 })
    await expect(claimFor(ports, A, id)).rejects.toMatchObject({ code: 'build.taken' })
    expect(await inspectBuild(ports, id)).toMatchObject({
      state: 'failed',
      error: { code: 'build.attempts-exhausted' },
    })
    expect(await world.rows('select sealed_secrets from builds')).toEqual([{ sealed_secrets: null }])
  })

  test('a third attempt goes on when the API was away, and fails when its host was, which is told of it', async () => {
    const id = await queue()
    for (let attempt = 1; attempt <= 3; attempt++) await claimFor(ports, A, attempt === 1 ? undefined : id)
    await pass(60_000, A, B)
    world.advance(45_000) // The API was away: no host was heard of.
    await endStrandedBuilds(ports)
    await beat(B)
    await endStrandedBuilds(ports)
    await beat(A)
    await pass(60_000, A, B)
    await endStrandedBuilds(ports)
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'queued', attempts: 3 })
    const before = (await desiredState(ports, A, undefined))?.generation
    await pass(31_000, B)
    await endStrandedBuilds(ports)
    expect(await inspectBuild(ports, id)).toMatchObject({ error: { code: 'build.attempts-exhausted' } })
    expect(await desiredState(ports, A, before)).toMatchObject({ builds: [], openBuilds: [] })
  })

  test('the wait for another host counts from its silence, not from the beginning of its build', async () => {
    waitAtMost(600_000)
    const id = await queue({}, { host: 'host-a' })
    await claimFor(ports, A, id)
    await pass(700_000, A, B)
    await pass(31_000, B)
    await endStrandedBuilds(ports)
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'queued', attempts: 1 })
    await pass(600_000, B)
    await endStrandedBuilds(ports)
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'failed', error: { code: 'build.no-host' } })
  })

  test('no outage of the API that is longer than the wait ends a build that a host has, and a day of silence does', async () => {
    waitAtMost(600_000)
    const id = await queue()
    await claimFor(ports, A, undefined)
    world.advance(700_000)
    await endStrandedBuilds(ports)
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'queued', attempts: 1 })
    world.advance(DAY_MS)
    await endStrandedBuilds(ports)
    expect(await inspectBuild(ports, id)).toMatchObject({ error: { message: expect.stringContaining('not heard of') } })
  })

  test('that is removed leaves its unfinished builds to others', async () => {
    waitAtMost(600_000)
    const [free, bound] = [await queue(), await queue({}, { host: 'host-a' })]
    await claimFor(ports, A, undefined)
    await pass(700_000, A, B)
    await forgetHost(ports.db, A, ports.clock.now())
    await endStrandedBuilds(ports) // It waits anew since then.
    expect((await claimFor(ports, B, undefined))?.build.id).toBe(free)
    await expect(inspectBuild(ports, bound)).rejects.toMatchObject({ code: 'build.not-found' })
  })
})

describe('ends without a host', () => {
  let ended: BuildId

  test('a build that waits is canceled at once', async () => {
    const id = await queue({}, { secret: 'hidden' })
    await orderCancel(ports, id)
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'canceled', finishedAt: expect.any(String) })
    await expect(claimFor(ports, A, id)).rejects.toMatchObject({ code: 'build.taken' })
    expect(await world.rows('select sealed_secrets from builds')).toEqual([{ sealed_secrets: null }])
  })

  test.each([
    ['its host ends it', 'build.succeeded', () => say(A, {}, [{ id: ended, observed: SUCCEEDED }])],
    ['another cancels it', 'build.canceled', () => orderCancel(ports, ended)],
  ])('a cancel at the moment when %s tells of one end', async (_, type, meanwhile) => {
    ended = await queue()
    if (type === 'build.succeeded') await claimFor(ports, A, undefined)
    let isFirst = true
    const raced = world.hooked(async (name, call) => {
      if (name === 'batch' && isFirst) {
        isFirst = false
        await meanwhile()
      }
      return call()
    })
    const outcome = await orderCancel(raced, ended).catch(({ code }) => code)
    expect([isFirst, outcome]).toEqual([false, type === 'build.succeeded' ? 'build.finished' : undefined])
    const ends = "select type from events where type in ('build.succeeded', 'build.canceled')"
    expect(await world.rows(ends)).toEqual([{ type }])
  })

  test('a cancel of what a host has is that host’s to do, and is done for it when it is silent', async () => {
    const id = await queue()
    await claimFor(ports, A, undefined)
    await orderCancel(ports, id)
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'queued' })
    await pass(31_000, B)
    await endStrandedBuilds(ports)
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'canceled' })
  })

  test('a host that is alive and takes none keeps no build waiting for ever', async () => {
    await say(A, { buildsAtOnce: 0 })
    const id = await queue({}, { host: 'host-a' })
    expect((await inspectBuild(ports, id)).waiting).toContain('SLIPWAY_BUILDS_AT_ONCE')
    const before = (await desiredState(ports, A, undefined))?.generation
    world.advance(DAY_MS - 1)
    await say(A, { buildsAtOnce: 0 })
    await endStrandedBuilds(ports)
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'queued' })
    world.advance(1)
    await endStrandedBuilds(ports)
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'failed', error: { code: 'build.no-host' } })
    expect(await desiredState(ports, A, before)).toMatchObject({ builds: [], openBuilds: [] })
  })

  test('a host that was given builds by name and has others to do says so', async () => {
    await say(A, { buildsAtOnce: 1 })
    const ids = [await queue({}, { host: 'host-a' }), await queue({}, { host: 'host-a' })] as const
    const waits = async () => Promise.all(ids.map(async id => (await inspectBuild(ports, id)).waiting))
    expect(await waits()).toEqual(['a host is about to take it', 'a host is about to take it'])
    await claimFor(ports, A, ids[0])
    expect(await waits()).toEqual(['a host is about to begin it', 'all hosts that fit are at work on other builds'])
  })

  test('a full disk is why nobody takes a build', async () => {
    const full = { diskFreeBytes: 1e8 }
    await Promise.all([say(A, full), say(B, full)])
    expect((await inspectBuild(ports, await queue())).waiting).toContain('disks')
  })

  test('a build that no host takes says why, and fails in the end', async () => {
    const id = await queue({ constraints: { gpu: 'yes' } })
    expect((await inspectBuild(ports, id)).waiting).toContain('gpu=yes')
    await endStrandedBuilds(ports)
    world.advance(23 * HOUR_MS)
    await endStrandedBuilds(ports)
    expect((await inspectBuild(ports, id)).waiting).toContain('no host is ready')
    world.advance(2 * HOUR_MS)
    await endStrandedBuilds(ports)
    expect(await inspectBuild(ports, id)).toMatchObject({ state: 'failed', error: { code: 'build.no-host' } })
  })
})
