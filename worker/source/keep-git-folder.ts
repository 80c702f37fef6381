import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { copyTree } from '../host/copy-tree.ts'
import { run } from '../host/run.ts'
import { git } from './git-command.ts'
import { NO_CREDENTIALS } from './git-credentials.ts'
import type { Sandbox } from './sandbox.ts'

const CHOWN_MS = 5 * 60_000

/** The folder `.git` of a checkout, beside its files: at the commit, with its address as `origin`. */
export async function keepGitFolder(
  work: Sandbox,
  store: string,
  { commit, url, into }: { commit: string; url: string; into: string },
): Promise<void> {
  const here = (args: string[]) => git(work, NO_CREDENTIALS, ['--git-dir', store, ...args])
  await here(['update-ref', '--no-deref', 'HEAD', commit])
  await here(['read-tree', commit])
  await here(['config', 'remote.origin.url', url])
  await here(['config', 'remote.origin.fetch', '+refs/heads/*:refs/remotes/origin/*'])
  await here(['config', 'core.bare', 'false'])
  const own = join(work.folder, store.slice('/tmp/'.length))
  await rm(join(own, 'info/attributes'), { force: true }) // Ours alone.
  await copyTree(own, join(into, '.git'))
  await run('chown', ['-R', '-h', '0:0', join(into, '.git')], { timeoutMs: CHOWN_MS, signal: work.signal })
}
