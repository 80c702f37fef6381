import { git } from './git-command.ts'
import { NO_CREDENTIALS } from './git-credentials.ts'
import type { Sandbox } from './sandbox.ts'

export interface Submodule {
  /** Inside of what was asked for. */
  path: string
  url: string
  commit: string
}

const GITLINK = /^160000 commit ([0-9a-f]{40,64})\t/
/** Of the file that names submodules, which anybody may have written. */
const MAX_CONFIG_BYTES = 256 * 1024

/** The submodules of a commit below a subfolder, as `.gitmodules` (gitmodules(5)) names them; those that it lacks are passed over. */
export async function readSubmodules(
  work: Sandbox,
  store: string,
  commit: string,
  subfolder: string | undefined,
): Promise<Submodule[]> {
  const here = (args: string[]) => git(work, NO_CREDENTIALS, ['--git-dir', store, ...args])
  const size = await here(['cat-file', '-s', `${commit}:.gitmodules`]).catch(() => '0')
  if (Number(size) === 0 || Number(size) > MAX_CONFIG_BYTES) return []
  const said = await here([
    'config',
    '--blob',
    `${commit}:.gitmodules`,
    '-z',
    '--get-regexp',
    '^submodule\\..*\\.(path|url)$',
  ])
  const prefix = subfolder === undefined ? '' : `${subfolder}/`
  const found: Submodule[] = []
  for (const { path, url } of namedIn(said)) {
    if (!path.startsWith(prefix) || path === prefix) continue
    const entry = await here(['ls-tree', '-z', '--full-tree', commit, '--', path])
    const linked = GITLINK.exec(entry)?.[1]
    if (linked !== undefined) found.push({ path: path.slice(prefix.length), url, commit: linked })
  }
  return found
}

/** Entries of `git config -z`: `submodule.NAME.KEY\nVALUE\0`. */
function namedIn(said: string): { path: string; url: string }[] {
  const modules = new Map<string, { path?: string; url?: string }>()
  for (const entry of said.split('\0').filter(Boolean)) {
    const [key = '', ...value] = entry.split('\n')
    const dot = key.lastIndexOf('.')
    const name = key.slice(0, dot)
    modules.set(name, { ...modules.get(name), [key.slice(dot + 1)]: value.join('\n') })
  }
  return [...modules.values()].flatMap(({ path, url }) => (path && url && !path.startsWith(':') ? [{ path, url }] : []))
}
