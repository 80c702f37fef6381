import { existsSync } from 'node:fs'
import { chmod, mkdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { bindMount, unmount } from '#worker/host/mount.ts'
import type { OciRuntimeConfig } from './oci-config.ts'

/**
 * A runtime enters the user namespace of a container before it looks at the root: whoever it is then on the host cannot pass the folders
 * that are root's alone. Opening those to everybody would let users of the host run set-user-ID programs of all containers.
 */
const FOLDER = '/run/slipway-roots'

export const reachablePath = (instance: string, id: string) => join(FOLDER, `${instance}-${id}`)

/** The same configuration with its root at `path`, for as long as it is not disposed of; as it is where it enters no user namespace. */
export async function withReachableRoot(
  config: OciRuntimeConfig,
  path: string,
): Promise<{ config: OciRuntimeConfig } & AsyncDisposable> {
  const isInUserns = config.linux.namespaces.some(({ type }) => type === 'user')
  if (!isInUserns) return { config, async [Symbol.asyncDispose]() {} }
  await mkdir(path, { recursive: true })
  for (const folder of [FOLDER, path]) await chmod(folder, 0o755) // Whatever this process's umask is.
  bindMount({ source: config.root.path, target: path, isReadOnly: false })
  const reachable = { ...config, root: { ...config.root, path } }
  return { config: reachable, [Symbol.asyncDispose]: () => removeReachable(path) }
}

/** What a killed agent left, too. */
export async function removeReachable(path: string): Promise<void> {
  if (!existsSync(path)) return
  await unmount(path)
  await rmdir(path)
  await rmdir(FOLDER).catch(() => {}) // Another is at it.
}
