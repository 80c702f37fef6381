import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { SlipwayError } from '#shared/errors.ts'
import { fileNameOf } from '../dockerfile/remote.ts'
import type { CopyStep } from '../dockerfile/step.ts'
import { runInBuildNetwork } from './build-network.ts'
import type { SharedWork } from './build-work.ts'
import { latin1 } from './byte-paths.ts'
import type { CopySource } from './copy-sources.ts'
import { ownFolder } from './source-folders.ts'

const FETCH_MS = 15 * 60_000
const FILE_BYTES = 16 * 1024 ** 3
/** The unit of a shell's `ulimit -f`: a server need not say how much it is going to send. */
const ULIMIT_BYTES = 512
const BOUNDED = 'ulimit -f "$1"; shift; exec "$@"'
const OPTIONS = [
  ...['--silent', '--show-error', '--fail', '--globoff', '--location', '--max-redirs', '10', '--remote-time'],
  ...['--proto', '=http,https', '--proto-redir', '=http,https', '--connect-timeout', '30', '--retry', '2'],
]

/**
 * The file that ADD names by an address: at most 16 GiB, ten redirects and 15 minutes. Its mode is 0600 and its time what
 * the server says, as Docker has it. Errors: `build.step-failed`.
 */
export async function fetchFile(
  work: SharedWork,
  url: string,
  { to, checksum }: Pick<CopyStep, 'to' | 'checksum'>,
): Promise<CopySource> {
  const name = fileNameOf(url)
  if (name === undefined && to.endsWith('/')) {
    throw failed(`${shown(url)} has no name for a file: write the file's name at the end of the destination`)
  }
  const folder = await ownFolder(work)
  const path = join(folder, 'file')
  const program = ['sh', '-ec', BOUNDED, 'sh', String(FILE_BYTES / ULIMIT_BYTES)]
  const args = ['curl', ...OPTIONS, '--output', path, '--', url]
  const result = await runInBuildNetwork(work, folder, [...program, ...args], {
    timeoutMs: FETCH_MS,
    signal: work.signal,
  })
  if (result.exitCode !== 0) throw failed(`${shown(url)} could not be fetched: ${result.stderr.trim().slice(0, 500)}`)
  if (checksum !== undefined) await compare(path, url, checksum)
  if (work.materials.isAsked) work.materials.add({ uri: shown(url), digest: { sha256: await hashOf('sha256', path) } })
  await chmod(path, 0o600)
  return { path: latin1(path), name: latin1(name ?? 'file'), isFolder: false, parents: [], isRemote: true }
}

async function compare(path: string, url: string, checksum: string): Promise<void> {
  const algorithm = checksum.slice(0, checksum.indexOf(':'))
  const has = `${algorithm}:${await hashOf(algorithm, path)}`
  if (has !== checksum)
    throw failed(`${shown(url)} has the checksum ${has}, and not the ${checksum} that was asked for`)
}

async function hashOf(algorithm: string, path: string): Promise<string> {
  const hash = createHash(algorithm)
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

/** Without a password that it may hold. */
export function shown(url: string): string {
  return url.replace(/\/\/[^/@]*@/, '//')
}

export function failed(why: string): SlipwayError {
  return new SlipwayError('build.step-failed', `${why}.`)
}
