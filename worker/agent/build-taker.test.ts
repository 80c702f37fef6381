import { getHeapStatistics, setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import type { DesiredBuild, ObservedBuild } from '#shared/domain/build.ts'
import type { BuildId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { fakeMessageBus } from '#shared/ports/message-bus.fake.ts'
import { BUILD_QUEUE } from '#shared/protocol/bus.ts'
import { takeBuilds } from './build-taker.ts'
import { createBuildRunner } from './builds.ts'

/** `answer`: what the API says to who asks for a build, by its id or for any. Ends when `isEnough` says so. */
async function takeUntil(
  isEnough: (asked: readonly (string | undefined)[]) => boolean,
  answer: (id: string | undefined) => boolean,
  { hasQueue = true, rooms = () => true }: { hasQueue?: boolean; rooms?: () => boolean } = {},
) {
  const bus = fakeMessageBus()
  const say = (id: string) => bus.enqueue(BUILD_QUEUE, new TextEncoder().encode(id), id)
  const over = new AbortController()
  const asked: (string | undefined)[] = []
  // Days pass at once, but for who waits for the bus.
  const clock = { now: systemClock.now, sleep: async () => {} }
  if (hasQueue) await say('b')
  await takeBuilds({
    ...{ bus, clock, log: pino({ level: 'silent' }), isReady: () => true, signal: over.signal },
    builds: {
      hasRoom: rooms,
      onEnd: () => ({ [Symbol.dispose]: () => {} }),
      take: async id => {
        asked.push(id)
        if (isEnough(asked)) over.abort()
        return answer(id)
      },
    },
  })
  const left = hasQueue ? await bus.take(BUILD_QUEUE, 1200) : undefined
  return { asked, left: left && new TextDecoder().decode(left.body) }
}

const taken = () => {
  throw new SlipwayError('build.taken', 'Another has it.')
}

test('a message makes the host ask for its build, and is done with when it got it', async () => {
  const { asked, left } = await takeUntil(
    all => all.length === 2,
    id => id === 'b',
  )
  expect([asked, left]).toEqual([[undefined, 'b'], undefined])
})

test('a build that does not fit is passed on to another, one that somebody has is not', async () => {
  expect(
    await takeUntil(
      all => all.includes('b'),
      () => false,
    ),
  ).toMatchObject({ left: 'b' })
  const { left } = await takeUntil(
    all => all.includes('b'),
    id => (id === undefined ? false : taken()),
  )
  expect(left).toBeUndefined()
})

test('without a queue the API is asked all the same, again and again; a failure stops nothing', async () => {
  const away = () => {
    throw new SlipwayError('host.unreachable', 'The API is away.')
  }
  const { asked } = await takeUntil(all => all.length === 5, away, { hasQueue: false })
  expect(asked).toEqual(Array(5).fill(undefined))
})

test('a host without room asks for nothing', async () => {
  let looks = 0
  const rooms = () => ++looks > 3
  const { asked } = await takeUntil(
    all => all.length === 1,
    () => true,
    { rooms },
  )
  expect([asked, looks]).toEqual([[undefined], 4])
})

/** Runs none of its builds: one goes on for as long as the test, so that there is no room. */
async function fullRunner(signal: AbortSignal) {
  const build = { id: 'b' as BuildId, goal: 'built' } as DesiredBuild
  const turn = Promise.withResolvers<ObservedBuild>()
  const runner = createBuildRunner({
    ...{ atOnce: 1, signal, now: Date.now, build: () => turn.promise },
    desired: { state: () => undefined, takeBuild: () => {} },
    reporter: { build: () => {}, lastOf: async () => {} },
    api: { claimBuild: async () => ({ build, logFrom: 0, stepFrom: 0 }), releaseBuild: async () => {} },
  })
  await runner.take()
  return { runner, end: () => turn.resolve({ state: 'canceled', startedAt: 0, finishedAt: 1 }) }
}

test('the end of a build wakes a host without room', async () => {
  const over = new AbortController()
  const { runner, end } = await fullRunner(over.signal)
  const taken = Promise.withResolvers<void>()
  const builds = {
    ...{ hasRoom: runner.hasRoom, onEnd: runner.onEnd },
    take: async () => {
      taken.resolve()
      over.abort()
      return false
    },
  }
  // It would sleep for ever.
  const clock = { now: Date.now, sleep: (_: number, signal?: AbortSignal) => once(signal) }
  const options = { bus: fakeMessageBus(), clock, log: pino({ level: 'silent' }), builds, isReady: () => true }
  const taking = takeBuilds({ ...options, signal: over.signal })
  end()
  await Promise.all([taken.promise, taking])
})

test('a host that is full for days keeps nothing of its looks', async () => {
  setFlagsFromString('--expose-gc')
  const collect: () => void = runInNewContext('gc')
  const over = new AbortController()
  const { runner, end } = await fullRunner(over.signal)
  let looks = 0
  let before = 0
  const hasRoom = () => {
    looks++
    if (looks === 1000) {
      collect()
      before = getHeapStatistics().used_heap_size
    }
    if (looks === 101_000) over.abort()
    return runner.hasRoom()
  }
  const clock = { now: Date.now, sleep: async () => {} }
  const builds = { ...runner, hasRoom }
  const options = { bus: fakeMessageBus(), clock, log: pino({ level: 'silent' }), builds, isReady: () => true }
  await takeBuilds({ ...options, signal: over.signal })
  collect()
  const kept = getHeapStatistics().used_heap_size - before
  end()
  expect(kept).toBeLessThan(5_000_000)
})

function once(signal?: AbortSignal): Promise<void> {
  return new Promise(resolve => signal?.addEventListener('abort', () => resolve(), { once: true }))
}
