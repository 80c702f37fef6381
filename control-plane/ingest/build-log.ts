import type { HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import { type AppendBuildLog, BUILD_LOG_LINES } from '#shared/protocol/agent.ts'
import { ringChanged } from '../notify/doorbell.ts'
import type { Ports } from '../ports.ts'
import { appendBuildLog, findBuild } from '../store/builds.ts'

/** Appends at `offset`; lines that came before are skipped, so a repeat adds nothing. Errors: `build.not-found`, a gap. */
export async function ingestBuildLog(ports: Ports, hostId: HostId, id: string, chunk: AppendBuildLog): Promise<void> {
  const found = await findBuild(ports.db, id)
  if (!found || found.build.hostId !== hostId)
    throw new SlipwayError('build.not-found', `This host has no build ${id}.`)
  const have = found.build.logLines
  if (chunk.offset > have && have < BUILD_LOG_LINES) {
    throw new SlipwayError('request.invalid', `The log has ${have} lines: send from there, not from ${chunk.offset}.`)
  }
  const fresh = chunk.lines.slice(have - chunk.offset, have - chunk.offset + BUILD_LOG_LINES - have)
  if (fresh.length === 0) return
  if (have + fresh.length === BUILD_LOG_LINES) {
    fresh[fresh.length - 1] = {
      at: ports.clock.now(),
      stream: 'stderr',
      text: `[the log ends here: only ${BUILD_LOG_LINES} lines are kept]`,
    }
  }
  if (!(await appendBuildLog(ports.db, hostId, found.build.id, have, fresh))) return
  await ringChanged(ports, 'build', [id])
}
