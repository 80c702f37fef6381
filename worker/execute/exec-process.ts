import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DesiredContainer } from '#shared/domain/container.ts'
import type { ExecSpec } from '#shared/domain/exec.ts'
import type { OciRuntimeConfig } from '../runtime/oci-config.ts'
import { type ResolvedUser, resolveUser } from '../runtime/user.ts'
import type { HostPorts } from './ports.ts'
import { readAccounts } from './read-accounts.ts'

type Process = OciRuntimeConfig['process']
export type ExecProcessPorts = Pick<HostPorts, 'containersFolder' | 'images'>

/**
 * The process of an exec: the container's own as it was started, with another command and what else was asked for. A user
 * is looked up in the container's files as they are now. Errors: `container.user-not-found`.
 */
export async function execProcess(ports: ExecProcessPorts, want: DesiredContainer, spec: ExecSpec): Promise<Process> {
  const text = await readFile(join(ports.containersFolder, want.id, 'config.json'), 'utf8')
  const config: OciRuntimeConfig = JSON.parse(text) // Ours, and whole: the container runs by it.
  if (spec.user === undefined) return processOf(config.process, spec)
  const user = resolveUser(spec.user, ...(await readAccounts(config.root.path)))
  const image = await ports.images.find(want.spec.imageDigest, want.id)
  const isHomeSet = [...(image?.config.config?.Env ?? []), ...want.spec.env].some(entry => entry.startsWith('HOME='))
  return processOf(config.process, spec, user, isHomeSet)
}

/** Pure. `isHomeSet`: somebody chose HOME for the container; otherwise it is that of the user. */
export function processOf(base: Process, spec: ExecSpec, user?: ResolvedUser, isHomeSet = true): Process {
  const { bounding } = base.capabilities
  const own = user && { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids, umask: base.user.umask }
  const held = user === undefined ? base.capabilities.effective : user.uid === 0 ? bounding : []
  return {
    ...base,
    terminal: spec.tty,
    ...(spec.tty && spec.size ? { consoleSize: { height: spec.size.rows, width: spec.size.columns } } : {}),
    user: own ?? base.user,
    args: spec.command,
    env: merged([
      ...(spec.tty ? ['TERM=xterm'] : []),
      ...base.env,
      ...(user && !isHomeSet ? [`HOME=${user.home}`] : []),
      ...spec.env,
    ]),
    cwd: spec.workdir ?? base.cwd,
    // As at a container's start: root has what the container may have, everybody else nothing.
    capabilities: { ...base.capabilities, bounding, effective: held, permitted: held },
  }
}

/** Later settings of a name win. */
function merged(entries: readonly string[]): string[] {
  const values = new Map<string, string>()
  for (const entry of entries) {
    const [name = ''] = entry.split('=', 1)
    values.set(name, entry.slice(name.length + 1))
  }
  return [...values].map(([name, value]) => `${name}=${value}`)
}
