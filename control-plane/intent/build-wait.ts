import type { BuildState } from '#shared/domain/build.ts'
import type { BuildId } from '#shared/domain/ids.ts'
import type { BuildLogLine } from '#shared/protocol/agent.ts'
import type { BuildView } from '#shared/protocol/builds.ts'
import type { Ports } from '../ports.ts'
import { buildLogFrom, listBuilds } from '../store/builds.ts'
import { inspectBuild, isFinished, requireBuild, viewBuilds } from './build-view.ts'
import { decodeCursor, page, timePositionSchema } from './page-position.ts'
import { waitFor } from './wait.ts'

/** The build once it has ended, however it did. Errors: `request.timeout`. */
export function awaitBuild(ports: Ports, id: BuildId, timeoutMs: number): Promise<BuildView> {
  const look = async () => {
    const view = await inspectBuild(ports, id)
    return isFinished(view.state) ? { done: view } : { now: view.state, why: view.waiting }
  }
  return waitFor<BuildView>(ports, { kind: 'build', id, timeoutMs, look })
}

export interface BuildLogPiece {
  lines: BuildLogLine[]
  /** The number of the first line. */
  from: number
  /** Nothing follows: the build has ended and all was read. */
  isEnd: boolean
  state: BuildState
}

const CHUNKS_AT_ONCE = 20

/** The log from a line on. The state is read first, so that an end is only said when all lines were there to read. */
export async function readBuildLog(ports: Ports, id: string, from: number): Promise<BuildLogPiece> {
  const { build } = await requireBuild(ports, id)
  const chunks = await buildLogFrom(ports.db, build.id, from, CHUNKS_AT_ONCE)
  const lines = chunks.flatMap(({ firstLine, lines }) => lines.slice(Math.max(0, from - firstLine)))
  return { lines, from, state: build.state, isEnd: isFinished(build.state) && from + lines.length >= build.logLines }
}

export async function listBuildPage(
  ports: Ports,
  limit: number,
  cursor: string | undefined,
  state: BuildState | undefined,
) {
  const after = decodeCursor(cursor, { createdAt: -1, id: '' }, timePositionSchema)
  const found = await page(
    limit,
    count => listBuilds(ports.db, after, count, state),
    row => row,
    ({ build }) => ({ createdAt: build.createdAt, id: build.id }),
  )
  return { ...found, items: await viewBuilds(ports, found.items) }
}
