import { join } from 'node:path'
import type { BuildSource } from '#shared/domain/build.ts'
import { unreachable } from '#shared/errors.ts'
import { fetchGit } from '../source/fetch-git.ts'
import { fetchTar } from '../source/fetch-tar.ts'
import { CONTEXT_LIMITS } from './build-context.ts'
import type { StepLog } from './build-log.ts'
import type { SharedWork } from './build-work.ts'
import { untilAborted } from './deadline.ts'
import type { KnownDigests } from './digest-sources.ts'
import { type Uploads, unpackContext } from './dockerfile-sources.ts'
import { shown } from './fetch-file.ts'
import { CONTEXT, commitDigest } from './provenance.ts'

/** Brings the files of a build into an empty folder, and returns what is known of them. `onWritten` is told now and then how many bytes of an upload's tar are there. Errors: those of an upload's unpacking, and `source.…`. */
export async function takeSource(
  source: BuildSource,
  into: string,
  work: Pick<SharedWork, 'ports' | 'signal' | 'folder' | 'opened' | 'keeps' | 'secret' | 'commitIs' | 'materials'> & {
    log: StepLog
  },
  uploads: Uploads,
  onWritten: (bytes: number) => void,
): Promise<KnownDigests | undefined> {
  const { signal, log, folder } = work
  const limits = CONTEXT_LIMITS
  switch (source.kind) {
    case 'context':
      return unpackContext([source.contextId, ...(source.over ?? [])], into, work, uploads, CONTEXT, onWritten)
    case 'url': {
      const { origin, pathname } = new URL(source.url) // A query may have a token in it.
      log.write('step', `fetching ${origin}${pathname}`)
      const place = { file: join(folder, 'source.tar'), into, limits, signal }
      const sha256 = await fetchTar(source.url, source.sha256, place)
      work.materials.add({ name: CONTEXT, uri: `${origin}${pathname}`, digest: { sha256 } })
      return undefined
    }
    case 'git': {
      log.write('step', `fetching ${source.url}`)
      const secret = source.secret === undefined ? undefined : await untilAborted(work.secret(source.secret), signal)
      await fetchGit(source, {
        ...{ folder: join(folder, 'git'), into, secret, limits, signal },
        requireRoom: work.ports.requireRoom,
        onStep: text => log.write('step', text),
        onCommit: commit => {
          work.commitIs(commit)
          work.materials.add({ name: CONTEXT, uri: shown(source.url), digest: commitDigest(commit) })
        },
      })
      return undefined
    }
    default:
      return unreachable(source)
  }
}
