import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ApiError } from '#infra/local/api-client.ts'
import { type Supervised, waitUntil } from '#infra/local/processes.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import { monitorOf, processesOf } from '#test/support/processes.ts'
import { chooseSeed, seeded } from '#test/support/seeded.ts'
import { bootWithBusybox, type TestSlipway } from '#test/support/slipway.ts'

interface ContainerView {
  id: string
  state: string
  exitCode?: number
  startedAt: string
  finishedAt: string
}

let slipway: TestSlipway
const seed = chooseSeed()
const random = seeded(seed)

beforeAll(async () => {
  slipway = await bootWithBusybox('e2efault')
})
afterAll(async () => {
  expect(await slipway?.remove()).toEqual([])
})

const parts = ['agent', 'controlPlane', 'nats'] as const

async function killAfter(part: Supervised, delayMs: number): Promise<void> {
  await systemClock.sleep(delayMs)
  const pid = part.pid()
  if (pid) process.kill(pid, 'SIGKILL')
}

/** The API may be down for a moment: what a client does then is try again. */
async function persist<T>(attempt: () => Promise<T>): Promise<T> {
  const deadline = systemClock.now() + 60_000
  for (;;) {
    try {
      return await attempt()
    } catch (error) {
      if (systemClock.now() > deadline) throw error
      await systemClock.sleep(100)
    }
  }
}

const container = (id: string) => persist(() => slipway.api.call<ContainerView>('GET', `/v1/containers/${id}`))
const reaches = (id: string, state: string) => waitUntil(async () => (await container(id)).state === state, 60_000)

let marks = 200_000 + Math.floor(random() * 100_000)
/** A word that only one container's command has. */
const nextMark = () => String(++marks)

async function runsOnce(mark: string): Promise<void> {
  expect(await waitUntil(async () => processesOf(mark).length > 0, 5000)).toBe(true)
  await systemClock.sleep(300) // For a second one, should there be any.
  const before = processesOf(mark)
  await systemClock.sleep(30)
  // What a shell forks has the shell's words until it is another program.
  expect(processesOf(mark).filter(pid => before.includes(pid))).toHaveLength(1)
}

/** A container that takes some time to stop, and then says 7. */
async function runningTrap(name: string): Promise<{ id: string; mark: string }> {
  const mark = nextMark()
  const script = 'trap "sleep 0.2; exit 7" TERM; while :; do sleep 0.05; done'
  const { id } = await create(name, { name, command: ['sh', '-c', script, mark] })
  expect(await reaches(id, 'running')).toBe(true)
  await runsOnce(mark)
  return { id, mark }
}

const order = (id: string, what: 'start' | 'stop', body: object = {}) =>
  persist(() => slipway.api.call('POST', `/v1/containers/${id}/${what}`, body))

/** A removal whose answer was lost is not there any more when it is asked for again. */
async function removed(id: string): Promise<void> {
  const remove = () =>
    slipway.api.call('DELETE', `/v1/containers/${id}?force=true&wait=removed`).catch((error: unknown) => {
      if (!(error instanceof ApiError && error.problem.code === 'container.not-found')) throw error
    })
  await persist(remove)
}

function create(key: string, body: object): Promise<ContainerView> {
  return persist(() =>
    slipway.api.call<ContainerView>(
      'POST',
      '/v1/containers',
      { image: 'busybox', ...body },
      { 'idempotency-key': key },
    ),
  )
}

describe(`kill -9 (seed ${seed}; SLIPWAY_SEED=${seed} repeats it)`, () => {
  test.each(parts.flatMap(part => [1, 2, 3, 4].map(round => [part, round] as const)))(
    'of %s while a container is made, round %i: it runs in the end, once',
    async (part, round) => {
      const delayMs = random() * 150
      const key = `make-${part}-${round}`
      const mark = nextMark()
      const [made] = await Promise.all([
        create(key, { name: key, command: ['sleep', mark] }),
        killAfter(slipway[part], delayMs),
      ])
      expect(await reaches(made.id, 'running'), `killed after ${delayMs} ms`).toBe(true)
      await runsOnce(mark)
      await removed(made.id)
      expect(processesOf(mark)).toEqual([])
    },
  )

  test.each([1, 2, 3, 4])('of the agent while a container stops, round %i: it ends as it wants to', async round => {
    const { id, mark } = await runningTrap(`stop-${round}`)
    await Promise.all([order(id, 'stop', { timeout: 30 }), killAfter(slipway.agent, random() * 300)])
    expect(await reaches(id, 'exited')).toBe(true)
    expect(await container(id)).toMatchObject({ exitCode: 7 })
    expect(processesOf(mark)).toEqual([])
    await removed(id)
  })

  test.each([1, 2, 3, 4])('of the agent while a container starts anew, round %i: it runs once', async round => {
    const { id, mark } = await runningTrap(`again-${round}`)
    const [first] = processesOf(mark)
    const again = async () => {
      await order(id, 'stop', { timeout: 30 })
      await order(id, 'start')
    }
    await Promise.all([again(), killAfter(slipway.agent, random() * 500)])
    const isNew = async () => (await container(id)).state === 'running' && !processesOf(mark).includes(first ?? 0)
    expect(await waitUntil(async () => (await isNew()) && processesOf(mark).length > 0, 60_000)).toBe(true)
    await runsOnce(mark)
    await removed(id)
  })

  test.each([1, 2, 3, 4])('of the agent while a container goes, round %i: nothing of it is left', async round => {
    const { id, mark } = await runningTrap(`remove-${round}`)
    const gone = persist(() => slipway.api.call('DELETE', `/v1/containers/${id}?force=true`))
    await Promise.all([gone, killAfter(slipway.agent, random() * 200)])
    await removed(id)
    expect(processesOf(mark)).toEqual([])
    expect(monitorOf(id)).toBeUndefined()
  })

  test.each([1, 2, 3, 4])('of the monitor, round %i: what it watched lives on, ends, and starts again', async round => {
    const { id, mark } = await runningTrap(`monitor-${round}`)
    process.kill(monitorOf(id) ?? Number.NaN, 'SIGKILL')
    await systemClock.sleep(random() * 300)
    await runsOnce(mark)
    await order(id, 'stop', { timeout: 30 })
    expect(await reaches(id, 'exited')).toBe(true)
    const ended = await container(id)
    expect(ended.exitCode).toBe(137) // Nobody kept it.
    expect(Date.parse(ended.finishedAt)).toBeGreaterThan(Date.parse(ended.startedAt))
    await order(id, 'start')
    expect(await reaches(id, 'running')).toBe(true)
    await runsOnce(mark)
    await removed(id)
  })

  test.each([1, 2, 3])('of the monitor while a container is made, round %i: it runs in the end, once', async round => {
    const mark = nextMark()
    const { id } = await create(`early-${round}`, { command: ['sleep', mark], restart: 'always' })
    expect(await waitUntil(async () => monitorOf(id) !== undefined, 10_000)).toBe(true)
    process.kill(monitorOf(id) ?? Number.NaN, 'SIGKILL')
    expect(await reaches(id, 'running')).toBe(true)
    await runsOnce(mark)
    await removed(id)
  })

  test.each(parts)('of %s during a build: the build finishes', async part => {
    const context = await persist(() =>
      uploadFiles(slipway.api, {
        Dockerfile: `FROM busybox\nRUN for i in 1 2 3 4 5 6; do echo step $i; sleep 0.2; done; echo ${part} > /result\nCMD ["cat", "/result"]\n`,
      }),
    )
    const body = { context, tags: [`killed-${part.toLowerCase()}:latest`] }
    const { id } = await persist(() =>
      slipway.api.call<{ id: string }>('POST', '/v1/builds', body, { 'idempotency-key': `build-${part}` }),
    )
    await killAfter(slipway[part], 200 + random() * 1000)
    const build = () => persist(() => slipway.api.call<{ state: string }>('GET', `/v1/builds/${id}`))
    await waitUntil(async () => !['queued', 'running'].includes((await build()).state), 90_000)
    expect(await build()).toMatchObject({ state: 'succeeded' })
    const made = await create(`run-${part}`, { image: body.tags[0] })
    expect(await reaches(made.id, 'exited')).toBe(true)
    expect(await logs(made.id)).toBe(`${part}\n`)
    await slipway.api.call('DELETE', `/v1/containers/${made.id}?wait=removed`)
  })

  test('of the agent: running containers live on, and what they logged and how they ended is kept', async () => {
    const script = 'i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); sleep 0.1; done; exit 7'
    const lasting = await create('lasting', { command: ['sleep', '1000'] })
    const ending = await create('ending', { command: ['sh', '-c', script] })
    expect(await reaches(lasting.id, 'running')).toBe(true)
    expect(await reaches(ending.id, 'running')).toBe(true)
    const before = await container(lasting.id)
    for (let round = 0; round < 3; round++) await killAfter(slipway.agent, 700)
    expect(await reaches(ending.id, 'exited')).toBe(true)
    expect(await container(ending.id)).toMatchObject({ state: 'exited', exitCode: 7 })
    expect(await logs(ending.id)).toBe(Array.from({ length: 30 }, (_, i) => `line ${i}\n`).join(''))
    expect(await reaches(lasting.id, 'running')).toBe(true)
    expect((await container(lasting.id)).startedAt).toBe(before.startedAt)
    for (const { id } of [lasting, ending])
      await slipway.api.call('DELETE', `/v1/containers/${id}?force=true&wait=removed`)
  })

  test('of everything at once: what ran runs, what was asked for comes', async () => {
    const first = await create('all-first', { command: ['sleep', '1000'] })
    expect(await reaches(first.id, 'running')).toBe(true)
    const before = await container(first.id)
    const second = await create('all-second', { command: ['sleep', '1000'] })
    await Promise.all(parts.map(part => killAfter(slipway[part], 0)))
    expect(await reaches(second.id, 'running')).toBe(true)
    expect(await reaches(first.id, 'running')).toBe(true)
    expect((await container(first.id)).startedAt).toBe(before.startedAt)
    for (const { id } of [first, second]) {
      await persist(() => slipway.api.call('DELETE', `/v1/containers/${id}?force=true&wait=removed`))
    }
  })
})

async function logs(id: string): Promise<string> {
  return persist(async () => {
    let text = ''
    for await (const piece of slipway.api.text(`/v1/containers/${id}/logs`)) text += piece
    return text
  })
}
