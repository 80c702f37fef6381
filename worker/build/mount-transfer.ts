import PQueue from 'p-queue'
import type { BuildSpec } from '#shared/domain/build.ts'
import { isChosen } from '#shared/domain/cache-mount.ts'
import type { BuildId } from '#shared/domain/ids.ts'
import { toFault } from '#shared/errors.ts'
import type { Clock } from '#shared/ports/clock.ts'
import type { ControlPlane } from '../agent/control-plane.ts'
import { emptyFolder } from '../host/remove-tree.ts'
import type { BuildLog, StepLog } from './build-log.ts'
import type { CacheMounts } from './cache-mounts.ts'
import { restoreMount } from './restore-mount.ts'
import { saveMount } from './save-mount.ts'

export interface TransferOptions {
  api: Pick<ControlPlane, 'savedMount' | 'saveMount' | 'missingBlobs' | 'upload' | 'download'>
  cacheMounts: CacheMounts
  clock: Clock
  /** For tars on their way. */
  folder: string
  /** Errors: `host.disk-full`. */
  requireRoom(): void
}

export interface Transfers extends TransferOptions {
  /** By a folder's name: how it was when this agent saved or restored it (`folderState`). */
  states: Map<string, string>
}

/** What one build does with cache mounts beyond its host. */
export interface MountTransfer {
  /** How a mount's folder begins that is not there or empty; undefined: the build does not ask for it. Once for a folder. */
  restoring(
    id: string,
    log: StepLog,
    signal: AbortSignal,
  ): ((name: string, folder: string) => Promise<boolean>) | undefined
  /** A step could write into the folder of this name. */
  used(id: string, name: string): void
  /** Saves what the build used and asks for, in the background: nobody waits for it. Undefined: nothing is to be saved. Never rejects. */
  save(log: BuildLog): Promise<void> | undefined
}

/** Saves that wait for others: more come than go. */
const WAITING = 200

/** Folders of one host are saved one after the other, whichever builds they are of. Call it once: it removes what was left. */
export async function openMountTransfers(
  options: TransferOptions,
): Promise<(id: BuildId, spec: BuildSpec) => MountTransfer> {
  await emptyFolder(options.folder)
  const transfers: Transfers = { ...options, states: new Map() }
  const saves = new PQueue({ concurrency: 1 })
  return (build, spec) => {
    const asked = spec.kind === 'dockerfile' ? spec.cacheMounts : { restore: false, save: false }
    const tried = new Set<string>()
    const used = new Map<string, string>()
    return {
      restoring: (id, log, signal) => {
        if (!isChosen(asked.restore, id)) return undefined
        return async (name, folder) => {
          // A step that empties its mount would not find it full again in the next one.
          if (tried.has(name)) return false
          tried.add(name)
          return restoreMount({ id, name, folder }, transfers, log, signal)
        }
      },
      used: (id, name) => {
        if (isChosen(asked.save, id)) used.set(name, id)
      },
      save: log => {
        if (used.size === 0) return undefined
        if (saves.size + used.size > WAITING) {
          log.write('stderr', `WARN: cache mounts are not saved: ${saves.size} of this host wait for that already`)
          return undefined
        }
        const all = [...used].map(([name, id]) => saves.add(() => saveInLog({ build, id, name }, transfers, log)))
        return Promise.all(all).then(() => {})
      },
    }
  }
}

const NEVER = new AbortController().signal

/** The build has succeeded: what comes of the save is told in its log, and changes nothing. */
async function saveInLog(
  mount: { build: BuildId; id: string; name: string },
  transfers: Transfers,
  log: BuildLog,
): Promise<void> {
  await log.step(`saving cache mount ${mount.id}`, NEVER, async step => {
    const outcome = await saveMount(mount, transfers).catch(error => `not saved: ${toFault(error).message}`)
    step.write('step', outcome)
  })
}
