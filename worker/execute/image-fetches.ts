import PQueue from 'p-queue'
import type { Digest } from '#shared/digest.ts'
import type { DesiredContainer } from '#shared/domain/container.ts'
import type { ContainerId } from '#shared/domain/ids.ts'
import { parseImageReference } from '#shared/domain/reference.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { ImageStore } from '../image/image-store.ts'
import type { ImageFacts } from '../reconcile/facts.ts'
import { failureAfter } from './failure.ts'

/**
 * Images on their way, a fetch a container, beside the work on containers: a slow download keeps nobody from stopping
 * anything. What is on its way and what failed is remembered by this process alone; another one fetches again.
 */
export interface ImageFetches {
  state(want: DesiredContainer): Promise<ImageFacts>
  /** Begins a fetch unless one is under way. Never throws: a failure is the state that follows. */
  begin(want: DesiredContainer): void
  /** A removed container's failure is nobody's; a fetch under way ends unheard. */
  forget(id: string): void
  /** Calls back with a container's id whenever its fetch has ended, one way or the other. */
  watchEnds(onEnd: (id: ContainerId) => void): Disposable
}

/** The image store bounds layers; this bounds the questions to the API before them. */
const AT_ONCE = 16

export function createImageFetches(
  images: Pick<ImageStore, 'find' | 'pull'>,
  clock: Clock,
  requireRoom: () => void,
): ImageFetches {
  const queue = new PQueue({ concurrency: AT_ONCE })
  /** By container; an update may ask for another image. */
  const states = new Map<string, { digest: Digest; facts: Extract<ImageFacts, { state: 'fetching' | 'failed' }> }>()
  const stateOf = ({ id, spec }: DesiredContainer) => {
    const known = states.get(id)
    return known?.digest === spec.imageDigest ? known.facts : undefined
  }
  const watchers = new Set<(id: ContainerId) => void>()

  const fetch = async (want: DesiredContainer) => {
    const { id, spec } = want
    const last = stateOf(want)
    const digest = spec.imageDigest
    const mine = { digest, facts: { state: 'fetching' } } as const
    states.set(id, mine)
    const failure = await queue
      .add(async () => {
        requireRoom()
        return images.pull(`${parseImageReference(spec.image).repository}@${digest}`)
      })
      .then(() => undefined)
      .catch(error => failureAfter(last?.state === 'failed' ? last.failure : undefined, error, clock.now()))
    if (states.get(id) !== mine) return // Forgotten meanwhile, or another image is wanted.
    if (failure) states.set(id, { digest, facts: { state: 'failed', failure } })
    else states.delete(id)
    for (const onEnd of watchers) onEnd(id)
  }
  return {
    state: async want => {
      const known = stateOf(want)
      if (known?.state === 'fetching') return known
      // A build or another container may have brought it since the fetch failed.
      return (await images.find(want.spec.imageDigest, want.id)) ? { state: 'present' } : (known ?? { state: 'absent' })
    },
    begin: want => {
      if (stateOf(want)?.state !== 'fetching') void fetch(want)
    },
    forget: id => void states.delete(id),
    watchEnds: onEnd => {
      watchers.add(onEnd)
      return { [Symbol.dispose]: () => void watchers.delete(onEnd) }
    },
  }
}
