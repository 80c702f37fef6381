import { expect, test } from 'vitest'
import type { DesiredContainer } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { systemClock } from '#shared/ports/clock.ts'
import type { ResolvedImage } from '#shared/protocol/agent.ts'
import { createImageFetches } from './image-fetches.ts'

const want = {
  id: 'aaaaaaaaaaaaaaaa' as ContainerId,
  spec: { image: 'hello:1', imageDigest: `sha256:${'0'.repeat(64)}` },
} as DesiredContainer
const image = {} as ResolvedImage

/** An image store whose pulls end when the test says so. */
function store() {
  const pulls: (PromiseWithResolvers<ResolvedImage> & { reference: string })[] = []
  let isThere = false
  const end = (at: number, how: ResolvedImage | SlipwayError) => {
    if (how instanceof SlipwayError) return pulls[at]?.reject(how)
    isThere = true
    pulls[at]?.resolve(how)
  }
  const images = {
    find: async () => (isThere ? image : undefined),
    pull: (reference: string) => {
      const pull = { ...Promise.withResolvers<ResolvedImage>(), reference }
      pulls.push(pull)
      return pull.promise
    },
  }
  return { fetches: createImageFetches(images, systemClock, () => {}), pulls, end }
}

test('a fetch is begun once, asks for the digest, and rings when it ends', async () => {
  const { fetches, pulls, end } = store()
  const { promise: ended, resolve } = Promise.withResolvers<string>()
  using _ = fetches.watchEnds(resolve)
  expect(await fetches.state(want)).toEqual({ state: 'absent' })
  fetches.begin(want)
  fetches.begin(want)
  expect(await fetches.state(want)).toEqual({ state: 'fetching' })
  expect(pulls.map(({ reference }) => reference)).toEqual([`hello@${want.spec.imageDigest}`])
  end(0, image)
  expect(await ended).toBe(want.id)
  expect(await fetches.state(want)).toEqual({ state: 'present' })
})

test('a failure says when it is tried again, later each time; an image that came otherwise ends it', async () => {
  const { fetches, end } = store()
  const waits: number[] = []
  for (const at of [0, 1, 2, 3, 4]) {
    const { promise: ended, resolve } = Promise.withResolvers<string>()
    using _ = fetches.watchEnds(resolve)
    fetches.begin(want)
    end(at, new SlipwayError('host.unreachable', 'no answer'))
    await ended
    const state = await fetches.state(want)
    if (state.state === 'failed') waits.push((state.failure.retryAt ?? 0) - state.failure.at)
  }
  expect(waits.length).toBe(5)
  expect(waits.at(-1)).toBeGreaterThan(waits[0] ?? 0)
  end(9, image)
  expect(await fetches.state(want)).toEqual({ state: 'present' })
})

test('an update asks for another image, whatever became of the one before', async () => {
  const { fetches, pulls, end } = store()
  const updated = { ...want, spec: { ...want.spec, imageDigest: `sha256:${'1'.repeat(64)}` } } as DesiredContainer
  const { promise: ended, resolve } = Promise.withResolvers<string>()
  using _ = fetches.watchEnds(resolve)
  fetches.begin(want)
  expect(await fetches.state(updated)).toEqual({ state: 'absent' })
  fetches.begin(updated)
  expect(await fetches.state(updated)).toEqual({ state: 'fetching' })
  end(0, new SlipwayError('image.not-found', 'gone'))
  expect(pulls.map(({ reference }) => reference)).toEqual([want, updated].map(c => `hello@${c.spec.imageDigest}`))
  end(1, image)
  expect(await ended).toBe(want.id)
  expect(await fetches.state(updated)).toEqual({ state: 'present' })
})

test('one that cannot pass is the end; of a removed container nothing is kept', async () => {
  const { fetches, end } = store()
  const { promise: ended, resolve } = Promise.withResolvers<string>()
  using _ = fetches.watchEnds(resolve)
  fetches.begin(want)
  end(0, new SlipwayError('image.not-found', 'gone'))
  await ended
  expect(await fetches.state(want)).toMatchObject({ state: 'failed', failure: { code: 'image.not-found', tries: 1 } })
  fetches.forget(want.id)
  expect(await fetches.state(want)).toEqual({ state: 'absent' })
})
