import { chown, lstat, mkdir, readdir, realpath, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { GitSource } from '#shared/domain/build.ts'
import { isCommitId } from '#shared/domain/git.ts'
import { SlipwayError } from '#shared/errors.ts'
import { removeTree } from '../host/remove-tree.ts'
import { extractContext } from '../layer/context.ts'
import type { TarLimits } from '../layer/layer-writer.ts'
import { isSameServer, submoduleUrl } from './git-address.ts'
import { git, gitStream, tooSlow } from './git-command.ts'
import { gitCredentials, NO_CREDENTIALS, withConfig } from './git-credentials.ts'
import { keepGitFolder } from './keep-git-folder.ts'
import { pinned } from './pinned-server.ts'
import type { Resolve } from './reach.ts'
import { SANDBOX_USER, type Sandbox } from './sandbox.ts'
import { readSubmodules, type Submodule } from './submodules.ts'

export interface GitFetch extends Sandbox {
  /** An empty folder: gets the files, without git's own but where they are asked for. */
  into: string
  /** The value of the secret that the source names. */
  secret: string | undefined
  limits: TarLimits
  /** Links may lead out: whoever gets the files follows none. */
  keepsLinks?: boolean
  /** The folder `.git` comes along, of the repository itself and not of its submodules. */
  keepsGit?: boolean
  /** Left out: the system's. */
  resolve?: Resolve
  /** For all of it; left out: half an hour. */
  deadlineMs?: number
  /** Before each repository. Throws where the disk is full. */
  requireRoom(): void
  onStep(text: string): void
  /** Told the commit of the repository itself, before its submodules come. */
  onCommit(commit: string): void
}

const FETCH_MS = 30 * 60_000
const MAX_DEPTH = 8
const MAX_SUBMODULES = 200
/** What `git archive` would leave out or fill in is as it is in a checkout. */
const ATTRIBUTES = '* -export-ignore -export-subst\n'

interface Repository {
  url: string
  ref: string | undefined
  subfolder: string | undefined
  into: string
}

/**
 * The files of a repository at a ref, without git's own: shallow where the server lets us, by
 * the system's git, which is kept in a sandbox (`git-command`). Files go through the same sieve as an uploaded context: no
 * link leads out of the folder. Errors: `source.fetch-failed`, `source.not-found`, `source.refused`, those of `extractContext`.
 */
export async function fetchGit(source: GitSource, fetch: GitFetch): Promise<void> {
  const deadlineMs = fetch.deadlineMs ?? FETCH_MS
  const deadline = AbortSignal.timeout(deadlineMs)
  try {
    await fetchAll(source, { ...fetch, signal: AbortSignal.any([fetch.signal, deadline]) })
  } catch (cause) {
    if (fetch.signal.aborted || !deadline.aborted) throw cause
    throw tooSlow(`The fetch of ${source.url}`, deadlineMs, cause)
  }
}

async function fetchAll(source: GitSource, fetch: GitFetch): Promise<void> {
  await using undo = new AsyncDisposableStack()
  undo.defer(() => removeTree(fetch.folder))
  await mkdir(fetch.folder, { mode: 0o700 })
  await chown(fetch.folder, SANDBOX_USER, SANDBOX_USER)
  let left = MAX_SUBMODULES
  let count = 0

  const take = async (repository: Repository, depth: number): Promise<void> => {
    const store = `/tmp/${count++}.git`
    const { url, into, subfolder } = repository
    fetch.requireRoom()
    const commit = await fetchCommit(repository, store, fetch, source)
    fetch.onStep(`${url}${repository.ref === undefined ? '' : ` ${repository.ref}`} is commit ${commit}`)
    if (depth === 0) fetch.onCommit(commit)
    const tree = await treeOf(fetch, store, commit, subfolder)
    const tar = gitStream(fetch, ['--git-dir', store, 'archive', '--format=tar', tree])
    await extractContext(tar, into, fetch.limits, { keepsLinks: fetch.keepsLinks })
    if (depth === 0 && fetch.keepsGit && subfolder === undefined)
      await keepGitFolder(fetch, store, { commit, url, into })
    if (!source.submodules) return
    for (const submodule of await readSubmodules(fetch, store, commit, subfolder)) {
      if (depth >= MAX_DEPTH || --left < 0) throw tooMany()
      await takeSubmodule(submodule, repository, depth)
    }
  }
  const takeSubmodule = async ({ path, url, commit }: Submodule, parent: Repository, depth: number) => {
    const into = await emptyFolder(parent.into, path)
    const address = submoduleUrl(parent.url, url)
    await take({ url: address, ref: commit, subfolder: undefined, into }, depth + 1)
  }
  await take({ url: source.url, ref: source.ref, subfolder: source.subfolder, into: fetch.into }, 0)
}

/** Fetches one commit, without its past where the server lets us, and returns its id. */
async function fetchCommit(
  { url, ref }: Repository,
  store: string,
  fetch: GitFetch,
  source: GitSource,
): Promise<string> {
  const isNamed = isSameServer(source.url, url)
  const secret = isNamed ? fetch.secret : undefined
  const server = await pinned(url, isNamed ? 'private' : 'public', fetch.resolve)
  const credentials = withConfig(gitCredentials(url, secret), server.config)
  const here = (args: string[]) => git(fetch, credentials, ['--git-dir', store, ...args])
  await git(fetch, NO_CREDENTIALS, ['init', '--quiet', '--bare', '--template=', '--', store])
  const info = join(fetch.folder, store.slice('/tmp/'.length), 'info')
  await mkdir(info, { recursive: true })
  await writeFile(join(info, 'attributes'), ATTRIBUTES)
  const wanted = ref ?? 'HEAD'
  const fetchOne = (depth: string[]) =>
    here(['fetch', '--quiet', ...depth, '--no-tags', '--no-recurse-submodules', '--', server.url, wanted])
  const shallow = () => fetchOne(['--depth=1'])
  if (!isCommitId(wanted)) {
    await shallow().catch(error => (isPlainServer(error) ? fetchOne([]) : Promise.reject(error)))
    return (await here(['rev-parse', '--verify', '--quiet', 'FETCH_HEAD^{commit}'])).trim()
  }
  // A server may refuse to be asked for a commit that no name leads to; all of its names may lead there.
  await shallow().catch(() => here(['fetch', '--quiet', '--no-recurse-submodules', '--', server.url, ...EVERYTHING]))
  const found = await here(['rev-parse', '--verify', '--quiet', `${wanted}^{commit}`]).catch(() => undefined)
  if (found !== undefined) return found.trim()
  throw new SlipwayError('source.not-found', `${url} has no commit ${wanted} on any branch or tag: push it first.`)
}

/** A folder of a web server, which knows nothing of git (gitprotocol-http(5), "dumb"): it gives all of the past. */
function isPlainServer(error: unknown): boolean {
  return error instanceof SlipwayError && error.message.includes('does not support shallow capabilities')
}

const EVERYTHING = ['+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*']

/** What to archive: a commit, so that files have its time. */
async function treeOf(work: Sandbox, store: string, commit: string, subfolder: string | undefined): Promise<string> {
  if (subfolder === undefined) return commit
  const here = (args: string[], env = {}) => git(work, { ...NO_CREDENTIALS, env }, ['--git-dir', store, ...args])
  const idOf = async (what: string) => (await here(['rev-parse', '--verify', '--quiet', what])).trim()
  const tree = await idOf(`${commit}:${subfolder}`)
    .then(found => idOf(`${found}^{tree}`)) // A file is none.
    .catch(() => undefined)
  if (tree === undefined) {
    throw new SlipwayError(
      'source.not-found',
      `The repository has no folder ${subfolder} at commit ${commit}: see "subfolder".`,
    )
  }
  const time = (await here(['show', '--no-patch', '--format=%ct', commit])).trim()
  const by = (who: string) => ({
    [`GIT_${who}_NAME`]: 'x',
    [`GIT_${who}_EMAIL`]: 'x',
    [`GIT_${who}_DATE`]: `@${time} +0000`,
  })
  return (await here(['commit-tree', '-m', 'x', tree], { ...by('AUTHOR'), ...by('COMMITTER') })).trim()
}

/** The folder that the parent has in a submodule's place. Errors: `source.refused`. */
async function emptyFolder(root: string, path: string): Promise<string> {
  const folder = join(root, path)
  const isPlain = (await realpath(folder).catch(() => '')) === join(await realpath(root), path)
  if (isPlain && (await lstat(folder)).isDirectory() && (await readdir(folder)).length === 0) return folder
  throw new SlipwayError('source.refused', `The submodule at ${path} has no empty folder in its repository.`)
}

function tooMany(): SlipwayError {
  return new SlipwayError(
    'source.refused',
    `The repository has more than ${MAX_SUBMODULES} submodules, or they lie too deep.`,
  )
}
