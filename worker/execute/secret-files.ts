import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, statSync } from 'node:fs'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import type { ContainerId } from '#shared/domain/ids.ts'
import type { SecretFile } from '#shared/domain/security.ts'
import { SlipwayError } from '#shared/errors.ts'
import { unmount } from '../host/mount.ts'
import { mountMemory } from '../host/mount-memory.ts'

/**
 * Secrets of containers as files. They lie in memory, root's alone, so that a restart needs no API and a reboot leaves nothing;
 * desired state, records and the runtime's configuration hold names and paths.
 */
export interface SecretFiles {
  /** The folder that becomes /run/secrets, with what the API says now, or said last when it does not answer. Undefined: there are none. */
  prepare(id: ContainerId, secrets: readonly SecretFile[], firstId?: number): Promise<string | undefined>
  /** One that has none is no error. */
  remove(id: string): Promise<void>
}

export interface SecretSource {
  /** What the secrets of a container hold, by name. */
  fetch(id: ContainerId): Promise<Record<string, string>>
  folder: string
}

const MOST_BYTES = 256 * 1024 * 1024
const valuesSchema = z.record(z.string(), z.string())

export function openSecretFiles({ fetch, folder }: SecretSource): SecretFiles {
  const folderOf = (id: string) => join(folder, id)
  let atWork = 0
  let leaving: Promise<void> | undefined
  const make = async (id: ContainerId, secrets: readonly SecretFile[], firstId: number) => {
    ensureMemory(folder)
    const own = folderOf(id)
    mkdirSync(own, { recursive: true, mode: 0o700 })
    const values = await valuesFor(() => fetch(id), join(own, 'values.json'), secrets)
    const files = join(own, 'files')
    await rm(files, { recursive: true, force: true })
    mkdirSync(files, { mode: 0o755 })
    chownSync(files, firstId, firstId)
    for (const secret of secrets) await place(files, secret, values[secret.name] ?? '', firstId)
    return files
  }
  /** The memory goes with the last of them, unless the next one is being made. */
  const remove = async (id: string) => {
    if (!isMounted(folder)) return
    await rm(folderOf(id), { recursive: true, force: true })
    if (atWork > 0 || leaving || readdirSync(folder).length > 0) return
    leaving = unmount(folder).finally(() => {
      leaving = undefined
    })
    await leaving
  }
  return {
    prepare: async (id, secrets, firstId = 0) => {
      if (secrets.length === 0) {
        await remove(id)
        return undefined
      }
      atWork++
      try {
        await leaving
        return await make(id, secrets, firstId)
      } finally {
        atWork--
      }
    },
    remove,
  }
}

/** Whatever the store's trouble is, what was good for the last start is good for this one; what the API refuses is refused. */
async function valuesFor(fetch: () => Promise<Record<string, string>>, kept: string, secrets: readonly SecretFile[]) {
  const isWhole = (values: Record<string, string>) => secrets.every(({ name }) => values[name] !== undefined)
  try {
    const values = await fetch()
    if (!isWhole(values)) throw new SlipwayError('internal', 'The API gave fewer secrets than the container names.')
    await writeFile(kept, JSON.stringify(values), { mode: 0o600 })
    return values
  } catch (error) {
    if (error instanceof SlipwayError && error.status < 500) throw error
    const text = await readFile(kept, 'utf8').catch(() => '{}')
    const values = valuesSchema.parse(JSON.parse(text))
    if (isWhole(values)) return values
    throw error
  }
}

async function place(folder: string, { file, uid, gid, mode }: SecretFile, value: string, firstId: number) {
  const path = join(folder, file)
  await writeFile(path, value, { mode: 0o600 })
  chownSync(path, firstId + uid, firstId + gid)
  chmodSync(path, mode) // Whatever this process's umask is.
}

/** A mount of its own, since nobody says that the folder for what a reboot takes lies in memory. Idempotent. */
function ensureMemory(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  if (!isMounted(folder)) mountMemory(folder, MOST_BYTES)
}

const isMounted = (folder: string) => existsSync(folder) && statSync(folder).dev !== statSync(dirname(folder)).dev
