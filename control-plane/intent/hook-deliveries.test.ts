import { createHmac } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { BuildId, HostId } from '#shared/domain/ids.ts'
import type { ForgeApi } from '#shared/ports/forge-api.ts'
import type { Report } from '#shared/protocol/agent.ts'
import { openRegistryWorld, type RegistryWorld } from '#test/support/registry-world.ts'
import { createApp } from '../app.ts'
import { ingestReport } from '../ingest/report.ts'
import type { Ports } from '../ports.ts'
import { insertHost } from '../store/hosts.ts'
import { claimFor } from './build-claims.ts'
import { tellForges } from './commit-statuses.ts'
import { newToken } from './principal.ts'
import { sweep } from './sweep.ts'
import { createFirstToken } from './tokens.ts'

const HOST = 'a'.repeat(16) as HostId
const COMMIT = '0123456789abcdef0123456789abcdef01234567'
const DAY_MS = 24 * 3_600_000

interface Sent {
  url: string
  headers: Record<string, string>
  body: Record<string, string>
}
type Answer = { status: number; body: Record<string, unknown> }

let world: RegistryWorld
let ports: Ports
let sent: Sent[]
let forge: ForgeApi['post']
let send: (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Answer>
let background: Promise<void>[]

beforeEach(async () => {
  world = await openRegistryWorld()
  sent = []
  background = []
  forge = async () => ({ status: 201, text: '' })
  const forges: ForgeApi = {
    post: async (url, headers, body) => {
      sent.push({ url, headers, body: body as Sent['body'] })
      return forge(url, headers, body)
    },
  }
  ports = { ...world.ports, forges, later: work => void background.push(work()) }
  const token = newToken(ports.random)
  await createFirstToken(ports, token)
  await insertHost(ports.db, { id: HOST, name: 'one', createdAt: 1 })
  await report([])
  const app = createApp({ portsFor: () => ports, onFailure: error => expect(error).toBeUndefined() })
  send = async (
    method,
    path,
    body,
    headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
  ) => {
    const text = body === undefined || typeof body === 'string' ? (body ?? null) : JSON.stringify(body)
    const response = await app.request(path, { method, headers, body: text })
    await Promise.all(background)
    const said = await response.text()
    return { status: response.status, body: said === '' ? {} : JSON.parse(said) }
  }
})
afterEach(() => world[Symbol.asyncDispose]())

const FACTS = {
  ...{ hostname: 'one', architecture: 'amd64', os: 'linux', kernel: '6', cpus: 1, memoryBytes: 1e9 },
  ...{ diskBytes: 1e12, diskFreeBytes: 9e11, agentVersion: '0', snapshotter: 'erofs', runtime: 'crun', cgroup: 'v2' },
} as unknown as Report['facts']

async function report(builds: Report['builds']): Promise<void> {
  for (const { id } of builds) await claimFor(ports, HOST, id)
  await ingestReport(ports, HOST, { generation: 0, facts: FACTS, containers: [], builds })
}

async function makeHook(more: object = {}) {
  await send('PUT', '/v1/secrets/forge-token', { value: 'ghp_forge' })
  const { status, body } = await send('POST', '/v1/hooks', {
    ...{ name: 'app', kind: 'github', git: { url: 'https://github.com/team/app.git' } },
    ...{ build: { tags: ['app:{branch}'] }, status: { secret: 'forge-token' }, ...more },
  })
  expect(status, JSON.stringify(body)).toBe(201)
  return body as { id: string; secret: string; url: string }
}

const payload = (more: object = {}) => ({
  ...{ ref: 'refs/heads/main', after: COMMIT, head_commit: { id: COMMIT }, commits: [{ modified: ['a'] }] },
  ...{ repository: { full_name: 'Team/App' }, ...more },
})

function deliver(hook: { id: string; secret: string }, body: object, more: Record<string, string> = {}) {
  const text = JSON.stringify(body)
  const signature = `sha256=${createHmac('sha256', hook.secret).update(text).digest('hex')}`
  const headers = {
    'x-github-event': 'push',
    'x-github-delivery': signature.slice(0, 40),
    'x-hub-signature-256': signature,
    ...more,
  }
  return send('POST', `/hooks/${hook.id}`, text, headers)
}

const buildsNow = async () =>
  ((await send('GET', '/v1/builds')).body.items as { id: string; state: string; tags: string[] }[]) ?? []

describe('a hook', () => {
  test('its builds save and restore the cache mounts that it names', async () => {
    const cacheMounts = { restore: true, save: ['npm'] }
    const hook = await makeHook({ build: { tags: ['app:1'], cacheMounts } })
    const { body } = await deliver(hook, payload())
    const claimed = await claimFor(ports, HOST, body.build as BuildId)
    expect(claimed?.build.spec).toMatchObject({ cacheMounts })
  })

  test('shows its secret once, and is listed and removed', async () => {
    const hook = await makeHook()
    expect(hook.secret).toMatch(/^[a-z2-7]{32}$/)
    expect(hook.url).toBe(`http://registry.test/hooks/${hook.id}`)
    const listed = await send('GET', '/v1/hooks')
    expect(listed.body.items).toMatchObject([{ id: hook.id, status: { api: 'https://api.github.com' } }])
    expect(JSON.stringify(listed.body)).not.toContain(hook.secret)
    expect(JSON.stringify(await world.rows('select * from hooks'))).not.toContain(hook.secret)
    expect((await send('POST', '/v1/hooks', { ...HOOK })).body.code).toBe('hook.name-taken')
    expect((await send('DELETE', `/v1/hooks/${hook.id}`)).status).toBe(204)
    expect((await deliver(hook, payload())).body.code).toBe('hook.not-found')
  })

  const HOOK = { name: 'app', kind: 'github', git: { url: 'https://github.com/team/app' }, build: { tags: ['app:1'] } }

  test.each([
    [{ build: { tags: ['{branch}:x y'] } }, 'image.reference-invalid'],
    [{ git: { url: 'https://h/p', secret: 'none' } }, 'secret.not-found'],
    [{ status: { secret: 'none' } }, 'secret.not-found'],
    [{ build: { tags: ['app:1'], secrets: { id: { secret: 'none' } } } }, 'secret.not-found'],
    [{ build: { tags: ['app:1'], secrets: { id: 'a value' } } }, 'request.invalid'],
    [{ kind: 'signed', status: { secret: 'none' } }, 'request.invalid'],
    [{ secret: 'short' }, 'request.invalid'],
    [{ git: { url: 'file:///etc' } }, 'request.invalid'],
    [{ git: { url: 'https://h/p', ref: 'x' } }, 'request.invalid'],
  ])('%j is refused with %s', async (more, code) => {
    expect((await send('POST', '/v1/hooks', { ...HOOK, ...more })).body.code).toBe(code)
  })
})

describe('a delivery', () => {
  test('of a push is a build of its commit, named in the answer', async () => {
    const hook = await makeHook({ git: { url: 'https://github.com/team/app.git', subfolder: 'web', submodules: true } })
    const { status, body } = await deliver(hook, payload())
    expect([status, body.result]).toEqual([202, 'building'])
    expect((await send('GET', `/v1/builds/${body.build}`)).body).toMatchObject({
      ...{ state: 'queued', tags: ['app:main'], dockerfile: 'Dockerfile' },
      git: { url: 'https://github.com/team/app.git', ref: COMMIT, subfolder: 'web', submodules: true },
      trigger: { hook: 'app', ref: 'refs/heads/main', commit: COMMIT },
    })
  })

  test('with a false signature, or with none, is nothing', async () => {
    const hook = await makeHook()
    const wrong = await deliver({ ...hook, secret: 'x'.repeat(32) }, payload())
    expect([wrong.status, wrong.body.code]).toEqual([401, 'hook.signature-invalid'])
    expect((await send('POST', `/hooks/${hook.id}`, '{', { 'x-github-event': 'push' })).status).toBe(401)
    expect(await buildsNow()).toEqual([])
  })

  test.each([
    [payload({ deleted: true, after: '0'.repeat(40) }), {}, 'deleted'],
    [payload({ ref: 'refs/tags/v1' }), {}, 'tag v1'],
    [payload({ repository: { full_name: 'other/app' } }), {}, 'other/app'],
    [{}, { 'x-github-event': 'pull_request' }, 'pull_request'],
  ])('%#: what is not built is answered with the reason', async (body, headers, reason) => {
    const hook = await makeHook()
    const { status, body: said } = await deliver(hook, body, headers)
    expect([status, said.result]).toEqual([200, 'ignored'])
    expect(said.reason).toContain(reason)
    expect(await buildsNow()).toEqual([])
  })

  test('that is a ping is answered', async () => {
    const hook = await makeHook()
    expect(await deliver(hook, { zen: 'x' }, { 'x-github-event': 'ping' })).toEqual({
      status: 200,
      body: { result: 'pong' },
    })
  })

  test('that comes again, by its id or by its bytes, at once or later, is the same build', async () => {
    const hook = await makeHook()
    const both = await Promise.all([deliver(hook, payload()), deliver(hook, payload())])
    const builds = new Set(both.map(({ body }) => body.build))
    const again = await deliver(hook, payload(), { 'x-github-delivery': 'forged' })
    expect(again).toMatchObject({ status: 200, body: { result: 'building', isRepeat: true } })
    expect(new Set([...builds, again.body.build]).size).toBe(1)
    expect(await buildsNow()).toHaveLength(1)
    world.advance(8 * DAY_MS)
    await sweep(ports)
    expect(await world.rows('select * from hook_deliveries')).toEqual([])
  })

  test('cancels what it makes stale: builds of the same hook and ref, and no others', async () => {
    const hook = await makeHook()
    const push = (ref: string, letter: string) => {
      const id = letter.repeat(40)
      return deliver(hook, payload({ ref, after: id, head_commit: { id } }))
    }
    const first = await push('refs/heads/main', '1')
    await claimFor(ports, HOST, first.body.build as BuildId)
    await push('refs/heads/other', '2')
    const generation = async () =>
      (await world.rows<{ generation: number }>('select generation from hosts'))[0]?.generation ?? 0
    const before = await generation()
    const second = await push('refs/heads/main', '3')
    const goals = await world.rows<{ id: string; goal: string; generation: number }>(
      'select id, goal, generation from builds order by rowid',
    )
    expect(goals.map(({ goal }) => goal)).toEqual(['canceled', 'built', 'built'])
    expect(goals[0]).toMatchObject({ id: first.body.build })
    expect(goals[0]?.generation).toBeGreaterThan(before)
    expect(goals[2]).toMatchObject({ id: second.body.build, generation: 0 })
    expect(await generation()).toBe(goals[0]?.generation)
  })
})

describe('the newest push', () => {
  const NONE = '0'.repeat(40)
  const commit = (letter: string) => letter.repeat(40)
  const move = (before: string, after: string, more: object = {}) =>
    payload({ before, after, head_commit: { id: after }, ...more })
  const commits = async () =>
    world.rows<{ commit: string; goal: string }>(
      'select trigger ->> \'commit\' as "commit", goal from builds order by rowid',
    )

  test('stays when an older one comes late, and an hour later nothing is late any more', async () => {
    const hook = await makeHook()
    await deliver(hook, move(commit('b'), commit('c')))
    const late = await deliver(hook, move(commit('a'), commit('b')))
    expect(late).toMatchObject({ status: 200, body: { result: 'ignored' } })
    const later = await deliver(hook, move(NONE, commit('a')))
    expect(later.body.reason).toContain('newer push')
    expect(await commits()).toEqual([{ commit: commit('c'), goal: 'built' }])
    world.advance(61 * 60_000)
    expect((await deliver(hook, move(commit('e'), commit('b')))).body.result).toBe('building')
    await sweep(ports)
    expect(await world.rows('select position from hook_pushes')).toHaveLength(1)
  })

  test.each([
    [1, 2, 3],
    [1, 3, 2],
    [2, 1, 3],
    [2, 3, 1],
    [3, 1, 2],
    [3, 2, 1],
  ])('of three wins, if they come as %d, %d, %d', async (...order) => {
    const hook = await makeHook()
    for (const at of order) await deliver(hook, move(commit(String(at - 1)), commit(String(at))))
    const all = await commits()
    expect(all.at(-1)).toEqual({ commit: commit('3'), goal: 'built' })
    expect(all.filter(({ goal }) => goal === 'built')).toHaveLength(1)
    // What a forge sends again changes nothing.
    for (const at of order) await deliver(hook, move(commit(String(at - 1)), commit(String(at))))
    expect((await commits()).at(-1)).toEqual({ commit: commit('3'), goal: 'built' })
  })

  test('is built again when what no filter lets in shows that it is the newest, and the answer says so', async () => {
    const hook = await makeHook({ on: { paths: ['src/**'] } })
    const source = { commits: [{ modified: ['src/a'] }] }
    await deliver(hook, move(commit('c'), commit('d'), source))
    await deliver(hook, move(commit('a'), commit('b'), source))
    const { body } = await deliver(hook, move(commit('b'), commit('c')))
    const newest = (await buildsNow()).find(({ state }) => state === 'queued')
    expect(body.result).toBe('ignored')
    expect(body.reason).toContain(`${commit('d')} is the newest, which is built again as ${newest?.id}`)
    expect((await commits()).map(({ goal }) => goal)).toEqual(['canceled', 'canceled', 'built'])
  })

  test('is a forced one, too, back to where the branch was', async () => {
    const hook = await makeHook()
    await deliver(hook, move(commit('a'), commit('b')))
    await deliver(hook, move(commit('b'), commit('a'), { forced: true }))
    expect(await commits()).toEqual([
      { commit: commit('b'), goal: 'canceled' },
      { commit: commit('a'), goal: 'built' },
    ])
  })

  test('that no filter lets in leaves the one before it to be built; an end of the branch does not', async () => {
    const hook = await makeHook({ on: { paths: ['src/**'] } })
    const source = { commits: [{ modified: ['src/a'] }] }
    await deliver(hook, move(commit('b'), commit('c'), { commits: [{ modified: ['README.md'] }] }))
    expect((await deliver(hook, move(commit('a'), commit('b'), source))).body.result).toBe('building')
    await deliver(hook, move(commit('d'), NONE, { ref: 'refs/heads/gone', deleted: true, head_commit: null }))
    const late = await deliver(hook, move(commit('c'), commit('d'), { ref: 'refs/heads/gone', ...source }))
    expect(late.body.result).toBe('ignored')
  })

  test('wins whatever the order of arrival when both come at the same moment', async () => {
    const hook = await makeHook()
    await Promise.all([deliver(hook, move(commit('b'), commit('c'))), deliver(hook, move(commit('a'), commit('b')))])
    const open = (await commits()).filter(({ goal }) => goal === 'built')
    expect(open).toEqual([{ commit: commit('c'), goal: 'built' }])
  })
})

describe('commit statuses', () => {
  const observed = (id: unknown, state: 'running' | 'succeeded') => {
    const times = { startedAt: 1, finishedAt: 2 }
    const digest = `sha256:${'0'.repeat(64)}`
    const seen = state === 'running' ? { state, startedAt: 1 } : { state, ...times, imageDigest: digest }
    return [{ id: id as BuildId, observed: seen as Report['builds'][number]['observed'] }]
  }
  const states = () => sent.map(({ body }) => body.state)

  test('are told at once and as the build goes on, each state once', async () => {
    const hook = await makeHook()
    const { body } = await deliver(hook, payload())
    expect(sent).toHaveLength(1)
    expect(sent[0]).toMatchObject({
      url: `https://api.github.com/repos/Team/App/statuses/${COMMIT}`,
      headers: { authorization: 'Bearer ghp_forge' },
      body: { state: 'pending', context: 'slipway/app', target_url: `http://registry.test/v1/builds/${body.build}` },
    })
    for (const state of ['running', 'running', 'succeeded'] as const) {
      await report(observed(body.build, state))
      await tellForges(ports)
    }
    expect(states()).toEqual(['pending', 'pending', 'success'])
    await sweep(ports)
    expect(states()).toHaveLength(3)
  })

  test('that a forge does not take are tried again, the newest state alone, and given up in the end', async () => {
    forge = async () => ({ status: 502, text: 'no, ghp_forge' })
    const notes: unknown[] = []
    ports.note = (_, facts) => void notes.push(facts)
    const hook = await makeHook()
    const { body } = await deliver(hook, payload())
    expect(JSON.stringify(notes)).toContain('502')
    expect(JSON.stringify([notes, await world.rows('select * from commit_statuses')])).not.toContain('ghp_forge')
    await report(observed(body.build, 'succeeded'))
    for (let hour = 0; hour < 12; hour++) {
      world.advance(3_600_000)
      await tellForges(ports)
    }
    expect(states()).toEqual(['pending', ...Array(10).fill('success')])
    expect(await world.rows('select due_at from commit_statuses')).toEqual(
      [{ dueAt: null }].map(() => ({ due_at: null })),
    )
  })

  test('keep no part of a token that an answer repeats, and none is told with a blank one', async () => {
    forge = async () => ({ status: 401, text: `${'x'.repeat(495)}ghp_forge` })
    const hook = await makeHook()
    await deliver(hook, payload())
    expect(sent).toHaveLength(1)
    const kept = async () => JSON.stringify(await world.rows('select error from commit_statuses'))
    expect(await kept()).toContain('xxx***')
    expect(await kept()).not.toContain('ghp')
    await send('PUT', '/v1/secrets/forge-token', { value: ' \n' })
    world.advance(60_000)
    await tellForges(ports)
    expect(sent).toHaveLength(1)
    expect(await kept()).toContain('blank')
  })

  test('are told to the end when the hook is gone', async () => {
    const hook = await makeHook()
    const { body } = await deliver(hook, payload())
    await send('DELETE', `/v1/hooks/${hook.id}`)
    await report(observed(body.build, 'succeeded'))
    await tellForges(ports)
    expect(states()).toEqual(['pending', 'success'])
  })

  test('of which one changes while it is told is told again, after it', async () => {
    const hook = await makeHook()
    forge = async () => {
      if (sent.length === 1)
        await report(observed((await world.rows<{ id: string }>('select id from builds'))[0]?.id, 'succeeded'))
      return { status: 201, text: '' }
    }
    const { body } = await deliver(hook, payload())
    await tellForges(ports)
    expect(body.result).toBe('building')
    expect(states()).toEqual(['pending', 'success'])
  })
})
