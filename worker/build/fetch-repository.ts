import { mkdir } from 'node:fs/promises'
import { join, posix } from 'node:path'
import { gitRefSchema, gitUrlSchema, partsOfGitUrl } from '#shared/domain/git.ts'
import { SlipwayError } from '#shared/errors.ts'
import type { GitSource } from '../dockerfile/remote.ts'
import type { CopyStep } from '../dockerfile/step.ts'
import { fetchGit } from '../source/fetch-git.ts'
import { CONTEXT_LIMITS } from './build-context.ts'
import { openBuildNetwork } from './build-network.ts'
import type { BuildWork } from './build-work.ts'
import { latin1 } from './byte-paths.ts'
import type { CopySource } from './copy-sources.ts'
import { failed, shown } from './fetch-file.ts'
import { commitDigest } from './provenance.ts'
import { ownFolder } from './source-folders.ts'

/**
 * The files of a commit as ADD copies them, with its submodules, fetched as a build's own source is (`worker/source`) but from the
 * build's network. Over ssh with the key `default` of the build. Errors: `build.step-failed`, `build.secret-missing`, `source.…`.
 */
export async function fetchRepository(
  work: BuildWork,
  { remote, ref, folder }: GitSource,
  { keepsGit, checksum }: Pick<CopyStep, 'keepsGit' | 'checksum'>,
): Promise<CopySource> {
  const { url, secret } = access(work, remote)
  if (ref !== undefined && !gitRefSchema.safeParse(ref).success) {
    throw failed(`${JSON.stringify(ref)} is no branch, tag or commit`)
  }
  const own = await ownFolder(work)
  const into = join(own, 'repository')
  await mkdir(into, { mode: 0o755 })
  await using network = await openBuildNetwork(work, own)
  const subfolder = posix.join('/', folder).replace(/\/+$/, '').slice(1) || undefined
  const source = { url, ref, subfolder, submodules: true }
  await fetchGit(source, {
    ...{ folder: join(own, 'git'), into, secret, limits: CONTEXT_LIMITS, signal: work.signal },
    ...{ enter: network.enter, keepsLinks: true, keepsGit, requireRoom: work.ports.requireRoom, onStep: () => {} },
    onCommit: commit => {
      work.materials.add({ uri: `${shown(remote)}#${ref ?? 'HEAD'}`, digest: commitDigest(commit) })
      if (checksum === undefined || commit === checksum) return
      const at = ref === undefined ? '' : ` at ${ref}`
      throw failed(`${shown(remote)}${at} is commit ${commit}, and not the ${checksum} that was asked for`)
    },
  })
  return { path: latin1(into), name: latin1(`/${folder}`), isFolder: true, parents: [], isRemote: true }
}

/** A password in an address is handed over as a secret is: no argument of a program shows it. */
function access(work: BuildWork, remote: string): { url: string; secret: string | undefined } {
  const plain = withoutPassword(remote)
  if (!gitUrlSchema.safeParse(plain.url).success) throw failed(`${shown(remote)} is no address of a repository`)
  if (partsOfGitUrl(plain.url).protocol !== 'ssh:') return plain
  const secret = work.secrets.ssh.default
  if (secret !== undefined) return { url: plain.url, secret }
  const message = `${shown(remote)} is fetched over ssh, and the build has no key for that: give it in "ssh" as "default".`
  throw new SlipwayError('build.secret-missing', message)
}

function withoutPassword(remote: string): { url: string; secret: string | undefined } {
  const url = URL.parse(remote)
  if (!url || !/^https?:$/.test(url.protocol) || url.username + url.password === '') {
    return { url: remote, secret: undefined }
  }
  const [user, password] = [decoded(url.username), decoded(url.password)]
  url.username = ''
  url.password = ''
  return { url: url.href, secret: password === '' ? user : `${user}:${password}` }
}

/** A percent sign that begins no byte stands for itself. */
function decoded(text: string): string {
  return text.replace(/(?:%[0-9a-f]{2})+/gi, bytes => Buffer.from(bytes.replaceAll('%', ''), 'hex').toString())
}
