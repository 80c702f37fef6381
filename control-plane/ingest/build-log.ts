import type { HostId } from '#shared/domain/ids.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { AppendBuildLog } from '#shared/protocol/agent.ts'
import { ringChanged } from '../notify/doorbell.ts'
import type { Ports } from '../ports.ts'
import { appendBuildLog, findBuild } from '../store/builds.ts'

/** Lines kept of one build's log; what comes after is counted in a last line, not kept. */
export const LOG_LINES_KEPT = 50_000

/** Appends at `offset`; lines that came before are skipped, so a repeat adds nothing. Errors: `build.not-found`, a gap. */
export async function ingestBuildLog(ports: Ports, hostId: HostId, id: string, chunk: AppendBuildLog): Promise<void> {
  const found = await findBuild(ports.db, id)
  if (!found || found.build.hostId !== hostId)
    throw new SlipwayError('build.not-found', `This host has no build ${id}.`)
  const have = found.build.logLines
  if (chunk.offset > have && have < LOG_LINES_KEPT) {
    throw new SlipwayError('request.invalid', `The log has ${have} lines: send from there, not from ${chunk.offset}.`)
  }
  const fresh = chunk.lines.slice(have - chunk.offset, have - chunk.offset + LOG_LINES_KEPT - have)
  if (fresh.length === 0) return
  if (have + fresh.length === LOG_LINES_KEPT) {
    fresh[fresh.length - 1] = {
      at: ports.clock.now(),
      stream: 'stderr',
      text: `[the log ends here: only ${LOG_LINES_KEPT} lines are kept]`,
    }
  }
  if (!(await appendBuildLog(ports.db, hostId, found.build.id, have, fresh))) return
  await ringChanged(ports, 'build', [id])
}
