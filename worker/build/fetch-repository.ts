import { lstatSync } from 'node:fs'
import { join } from 'node:path'
import type { GitSource } from '../dockerfile/remote.ts'
import type { CopyStep } from '../dockerfile/step.ts'
import { resolveInRootSync } from '../host/rooted-fs.ts'
import { run } from '../host/run.ts'
import { openSshAgent } from '../host/ssh-agent.ts'
import { runInBuildNetwork } from './build-network.ts'
import type { BuildWork } from './build-work.ts'
import { latin1 } from './byte-paths.ts'
import type { CopySource } from './copy-sources.ts'
import { failed, shown } from './fetch-file.ts'
import { commitDigest } from './provenance.ts'
import { ownFolder } from './source-folders.ts'

const FETCH_MS = 30 * 60_000
const REF = /^[\w][\w./+@-]{0,250}$/

/** One commit where the server gives it by that name, else all branches and tags, to look for it among them. */
const CLONE = `
git init -q -b main "$1"
cd "$1"
git remote add origin "$2"
if git fetch -q --depth=1 origin "$3" 2>/dev/null; then git checkout -q FETCH_HEAD
else
  git fetch -q --tags origin '+refs/heads/*:refs/remotes/origin/*'
  git remote set-head origin --auto >/dev/null 2>&1 || true
  git checkout -q --detach "origin/$3" 2>/dev/null || git checkout -q --detach "$3"
fi
git submodule --quiet update --init --recursive --depth=1
git rev-parse HEAD
`

/** Nothing of the host's own settings, no questions, and no other way than over a network. */
const SETTINGS = [
  ...['GIT_CONFIG_NOSYSTEM=1', 'GIT_CONFIG_GLOBAL=/dev/null', 'HOME=/nonexistent', 'GIT_TERMINAL_PROMPT=0'],
  ...['GIT_ALLOW_PROTOCOL=http:https:git:ssh', 'GIT_LFS_SKIP_SMUDGE=1', 'GIT_TEMPLATE_DIR='],
  'GIT_SSH_COMMAND=ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new -oUserKnownHostsFile=/dev/null',
]

/** The files of a commit as ADD copies them. Deadline: 30 minutes. Errors: `build.step-failed`, `build.source-not-found`. */
export async function fetchRepository(
  work: BuildWork,
  { remote, ref = 'HEAD', folder }: GitSource,
  { keepsGit, checksum }: Pick<CopyStep, 'keepsGit' | 'checksum'>,
): Promise<CopySource> {
  if (!REF.test(ref)) throw failed(`${JSON.stringify(ref)} is no branch, tag or commit`)
  const own = await ownFolder(work)
  const clone = join(own, 'repository')
  await using undo = new AsyncDisposableStack()
  const key = work.secrets.ssh.default
  const socket = join(own, 'agent')
  if (key !== undefined) undo.use(await openSshAgent(socket, key))
  const signing = key === undefined ? [] : [`SSH_AUTH_SOCK=${socket}`]
  const program = ['env', ...SETTINGS, ...signing, 'sh', '-ec', CLONE, 'sh', clone, remote, ref]
  const result = await runInBuildNetwork(work, own, program, { timeoutMs: FETCH_MS, signal: work.signal })
  if (result.exitCode !== 0)
    throw failed(`${shown(remote)} could not be fetched: ${result.stderr.trim().slice(0, 500)}`)
  const commit = result.stdout.trim().split('\n').at(-1) ?? ''
  if (checksum !== undefined && commit !== checksum) {
    throw failed(`${shown(remote)} at ${ref} is commit ${commit}, and not the ${checksum} that was asked for`)
  }
  work.materials.add({ uri: `${shown(remote)}#${ref}`, digest: commitDigest(commit) })
  if (!keepsGit) await run('find', [clone, '-name', '.git', '-prune', '-exec', 'rm', '-rf', '{}', '+'])
  const path = resolveInRootSync(clone, folder)
  if (!lstatSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw failed(`${shown(remote)} has no folder ${folder}`)
  return { path: latin1(path), name: latin1(`/${folder}`), isFolder: true, parents: [], isRemote: true }
}
