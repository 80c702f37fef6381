import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Supervised, waitUntil } from '#infra/local/processes.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { uploadFiles } from '#test/support/contexts.ts'
import { chooseSeed, seeded } from '#test/support/seeded.ts'
import { bootWithBusybox, type TestSlipway } from '#test/support/slipway.ts'

interface ContainerView {
  id: string
  state: string
  exitCode?: number
  startedAt: string
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
      const [made] = await Promise.all([
        create(key, { name: key, command: ['sleep', '1000'] }),
        killAfter(slipway[part], delayMs),
      ])
      expect(await reaches(made.id, 'running'), `killed after ${delayMs} ms`).toBe(true)
      await persist(() => slipway.api.call('DELETE', `/v1/containers/${made.id}?force=true&wait=removed`)).catch(
        () => {},
      )
      expect(await waitUntil(async () => (await names()).every(name => name !== key), 60_000)).toBe(true)
    },
  )

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

async function names(): Promise<string[]> {
  const { items } = await persist(() => slipway.api.call<{ items: { name: string }[] }>('GET', '/v1/containers'))
  return items.map(({ name }) => name)
}

async function logs(id: string): Promise<string> {
  return persist(async () => {
    let text = ''
    for await (const piece of slipway.api.text(`/v1/containers/${id}/logs`)) text += piece
    return text
  })
}
