import { pino } from 'pino'
import { expect, test } from 'vitest'
import { SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'
import { fakeMessageBus } from '#shared/ports/message-bus.fake.ts'
import { BUILD_QUEUE } from '#shared/protocol/bus.ts'
import { takeBuilds } from './build-taker.ts'

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
      nextEnd: () => new Promise(() => {}),
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
