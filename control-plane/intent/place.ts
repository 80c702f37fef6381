import { HOST_SILENT_MS } from '#shared/domain/host.ts'
import { SlipwayError } from '#shared/errors.ts'

export interface Candidate {
  id: string
  name: string
  architecture: string | undefined
  lastSeenAt: number | undefined
  /** Its disk has room for new images. */
  hasRoom: boolean
  /** Why it cannot run the container in question. */
  refusal?: string | undefined
  load: number
}

/** What a container's host has to be. */
export interface Wanted {
  /** Id or name; left out: any. */
  host: string | undefined
  /** Undefined when it does not matter. */
  architecture: string | undefined
  now: number
}

export function isReady(lastSeenAt: number | null | undefined, now: number): boolean {
  return typeof lastSeenAt === 'number' && now - lastSeenAt < HOST_SILENT_MS
}

/** The ready host of the right architecture with the fewest containers, one with a full disk last; ties go by name. Pure. */
export function chooseHost<T extends Candidate>(candidates: readonly T[], wanted: Wanted): T {
  const asked = candidates.filter(({ id, name }) => !wanted.host || wanted.host === id || wanted.host === name)
  if (wanted.host && asked.length === 0) {
    throw new SlipwayError('host.not-found', `There is no host ${wanted.host}. GET /v1/hosts lists them.`)
  }
  const ready = asked.filter(({ lastSeenAt }) => isReady(lastSeenAt, wanted.now))
  if (ready.length === 0) {
    throw new SlipwayError(
      'host.none-ready',
      `${wanted.host ? `Host ${wanted.host} is not` : 'No host is'} ready: see that an agent runs and reaches this API.`,
    )
  }
  const fitting = ready.filter(({ architecture }) => !wanted.architecture || architecture === wanted.architecture)
  const able = fitting.filter(({ refusal }) => refusal === undefined)
  const best = able.sort(
    (a, b) => Number(b.hasRoom) - Number(a.hasRoom) || a.load - b.load || a.name.localeCompare(b.name),
  )[0]
  if (best) return best
  const unable = fitting[0]
  if (unable) {
    const others = fitting.length > 1 ? `, and no other of ${fitting.length} that are ready` : ''
    throw new SlipwayError('host.unable', `Host ${unable.name} cannot run this container${others}: ${unable.refusal}.`)
  }
  const have = [...new Set(ready.map(({ architecture }) => architecture))].join(', ')
  throw new SlipwayError(
    'image.wrong-architecture',
    `The image is for ${wanted.architecture}, and the hosts are ${have}: build it for them, or add such a host.`,
  )
}
